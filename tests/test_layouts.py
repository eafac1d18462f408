"""Where parameters lie: parts of every mesh add up to the whole, token tables stay cut or not."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from presence_t5x import partitioning
from presence_t5x.config_types import PartitioningConfig, T5Config
from presence_t5x.layouts import Layout

MODEL = T5Config(vocab_size=64, emb_dim=32, num_heads=4, head_dim=8, mlp_dim=64, scan_layers=True)
TREE = {
    "token_embedder": {"embedding": jnp.zeros((64, 32))},
    "encoder": {"encoder": {"mlp": {"wo": {"kernel": jnp.zeros((64, 3, 32))}}}},
    "decoder": {"logits_dense": {"kernel": jnp.zeros((32, 64))}, "norm": {"scale": jnp.zeros(3)}},
}


def mesh_of(replica, outer, data, fsdp=1, tensor=1):
    shape = (replica, outer, data, fsdp, tensor)
    devices = np.asarray(jax.devices()[: int(np.prod(shape))]).reshape(shape)
    return Mesh(devices, ("replica", "outer", "data", "fsdp", "tensor"))


def specs(shardings):
    """Returns the mesh axes of every array axis, by the last name of a parameter's path."""
    return {
        jax.tree_util.keystr(path[-2:-1], simple=True): tuple(sharding.spec)
        for path, sharding in jax.tree_util.tree_leaves_with_path(shardings)
    }


def test_parts_and_what_a_loss_is_given():
    layout = Layout(mesh_of(1, 2, 4), cut_vocabulary=True)
    given = specs(layout.loss_shardings(TREE))
    assert given["logits_dense"] == (None, "data")
    assert given["token_embedder"] == ("data", None)
    assert not any(given["wo"]) and not any(given["norm"])
    parts = specs(layout.part_shardings(TREE))
    assert parts["logits_dense"] == ("outer", "data")
    assert parts["token_embedder"] == (("data", "outer"), None)
    assert parts["wo"] == (("data", "outer"), None, None)  # never the layers of a stack
    assert not any(parts["norm"])
    assert not any(itertools.chain(*specs(layout.whole_shardings(TREE)).values()))


@pytest.mark.parametrize("mesh", [(1, 2, 4), (2, 2, 2), (1, 1, 8), (8, 1, 1), (1, 2, 2, 2)])
@pytest.mark.parametrize("cut_vocabulary", [True, False])
def test_scattered_sums_are_what_gathering_undoes(mesh, cut_vocabulary):
    """reduce_scatter, finish_parts and gather_parts give the sum over devices, by plain numbers."""
    layout = Layout(mesh_of(*mesh), cut_vocabulary)
    rng = np.random.default_rng(0)
    tree = jax.tree.map(lambda leaf: rng.integers(-9, 9, leaf.shape).astype(np.float32), TREE)
    devices = layout.row_devices(tree)
    num_devices = int(np.prod(mesh[:3]))

    def local(params, number):
        gradient = jax.tree.map(lambda leaf: leaf * (1.0 + number[0]), params)
        parts = devices.finish_parts(devices.reduce_scatter(gradient, jnp.float32))
        return parts, devices.gather_parts(parts)

    parts, whole = jax.jit(layout.map_over_rows(local))(tree, jnp.arange(num_devices * 1.0))
    factors = 1.0 + np.arange(num_devices).reshape(-1, mesh[2])
    sums = jax.tree.map(lambda leaf: leaf * factors.sum(), tree)
    if cut_vocabulary:  # the tables come summed over "data": each part has its device's factor
        by_token = np.repeat(factors.sum(0), 64 // mesh[2])
        sums["token_embedder"] = {
            "embedding": tree["token_embedder"]["embedding"] * by_token[:, None]
        }
        sums["decoder"]["logits_dense"] = {
            "kernel": tree["decoder"]["logits_dense"]["kernel"] * by_token
        }
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(parts), sums)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(whole), sums)


@pytest.mark.parametrize(
    ("devices", "shape"),
    [(8, (1, 4, 2, 1, 1)), (1, (1, 1, 1, 1, 1)), (4, (1, 2, 2, 1, 1))],
)
def test_groups_of_rows(devices, shape):
    """The narrow model is cut in two (32 = 2 x 16 rows of a tile), groups of two make "outer"."""
    mesh = partitioning.make_mesh(PartitioningConfig(), MODEL, jax.devices()[:devices])
    assert tuple(mesh.shape.values()) == shape


def test_large_meshes_cut_over_two_axes_of_at_most_16():
    wide = T5Config(vocab_size=250112, emb_dim=4096, num_heads=64, mlp_dim=10240)
    fake = list(itertools.repeat(jax.devices()[0], 1024))
    mesh = partitioning.make_mesh(PartitioningConfig(num_fsdp_partitions=1), wide, fake)
    assert tuple(mesh.shape.values()) == (4, 16, 16, 1, 1)


def test_a_tensor_axis_keeps_the_tables():
    layout = Layout(mesh_of(1, 1, 2, 1, 4), cut_vocabulary=True)
    assert specs(layout.loss_shardings(TREE))["token_embedder"] == ("tensor", None)
    assert not layout.row_devices(TREE).shares_gradients


def t5x_mesh(data, model, replica=None):
    """A mesh as T5X's partitioner makes it, of one device that stands for all."""
    shape, names = ((data, model), ("data", "model"))
    if replica is not None:
        shape, names = ((replica, *shape), ("replica", *names))
    devices = np.empty(shape, object)
    devices[...] = jax.devices()[0]
    return Mesh(devices, names)


@pytest.mark.parametrize(
    ("mesh", "shape"),
    [
        (t5x_mesh(8, 2), {"data": 8, "model": 2}),
        (t5x_mesh(16, 1), {"data": 16, "model": 1}),
        (t5x_mesh(64, 2), {"replica": 1, "outer": 4, "data": 16, "model": 2}),
        (t5x_mesh(32, 1, replica=16), {"replica": 2, "outer": 16, "data": 16, "model": 1}),
    ],
)
def test_t5x_meshes_get_groups_beyond_16_devices(mesh, shape):
    grouped = partitioning.with_row_groups(mesh)
    assert dict(grouped.shape) == shape
    assert grouped.devices.ravel().tolist() == mesh.devices.ravel().tolist()


def test_groups_keep_the_order_of_devices(monkeypatch):
    monkeypatch.setattr(partitioning, "_MOST_PARTS", 2)
    devices = np.asarray(jax.devices()).reshape(4, 2)
    grouped = partitioning.with_row_groups(Mesh(devices, ("data", "model")))
    assert dict(grouped.shape) == {"replica": 1, "outer": 2, "data": 2, "model": 2}
    assert grouped.devices.ravel().tolist() == jax.devices()


def test_t5x_s_model_axis_is_the_tensor_axis():
    mesh = Mesh(np.asarray(jax.devices()).reshape(2, 4), ("data", "model"))
    layout = Layout(mesh, cut_vocabulary=True)
    whole = specs(layout.whole_shardings(TREE))
    assert whole["token_embedder"] == ("model", None)
    assert whole["wo"] == ("model", None, None)
    parts = specs(layout.part_shardings(TREE))
    assert parts["token_embedder"] == ("model", "data")
    assert parts["wo"] == ("model", None, "data")
    assert not layout.row_devices(TREE).shares_gradients
