"""Checkpoints that T5X writes are read, and T5X restores what is written; damage is named."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convert import t5x_peer
from flax import serialization
from flax.core import unfreeze

from presence_t5x.config_types import DecodingConfig, T5Config
from presence_t5x.convert import tensors
from presence_t5x.convert.content import Content
from presence_t5x.convert.formats import open_checkpoint
from presence_t5x.convert.logits import own_logits, random_inputs
from presence_t5x.convert.moments import Moments
from presence_t5x.convert.stacks import roll, unroll
from presence_t5x.convert.t5x_files import find_t5x, read_t5x
from presence_t5x.convert.writers import write_checkpoint
from presence_t5x.convert.zarr_arrays import write_zarr
from presence_t5x.decode import make_decoder
from presence_t5x.models.families import init_params

pytestmark = pytest.mark.filterwarnings("ignore")  # of T5X

NETWORKS = ("t5", "scalable_t5")
SIZES = {**t5x_peer.SIZES, "vocab_size": 131}


def flat(tree):
    return {path: np.asarray(leaf) for path, leaf in tensors.leaves_of(dict(tree)).items()}


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for path, array in wanted.items():
        np.testing.assert_array_equal(found[path], array, path)


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    return request.param


@pytest.fixture(scope="module")
def state(network):
    """T5X's train state after three updates."""
    initial = t5x_peer.initial_state(network, SIZES)
    return t5x_peer.state_after(initial, 3, t5x_peer.arbitrary_gradient)


@pytest.fixture(scope="module", params=["older", "orbax"])
def checkpoint(request, network, state, tmp_path_factory):
    """A MODEL_DIR that T5X wrote."""
    model_dir = tmp_path_factory.mktemp(f"{network}_{request.param}")
    checkpoints = t5x_peer.need_t5x("checkpoints")
    partitioner = t5x_peer.partitioner()
    if request.param == "older":
        checkpoints.Checkpointer(state, partitioner, str(model_dir)).save(state)
    else:
        manager = checkpoints.OrbaxCheckpointManagerInterface(
            str(model_dir), state, partitioner, save_dtype=jnp.float32
        )
        manager.save(state)
        manager.close()
    return model_dir


def test_what_t5x_wrote_comes_back_to_t5x(checkpoint, network, state, tmp_path):
    """Through this package's common form, written in the older layout, restored by T5X."""
    content = open_checkpoint(checkpoint)
    assert content.step == 3 and not content.leftovers
    assert content.config.scan_layers == (network == "scalable_t5")
    assert {name: getattr(content.config, name) for name in SIZES} == SIZES
    written = write_checkpoint(tmp_path / "back", content, "t5x", network=network)
    assert written.location == tmp_path / "back" / "checkpoint_3"
    wanted = flat(state.state_dict())
    checkpoints = t5x_peer.need_t5x("checkpoints")
    empty = jax.tree.map(jnp.zeros_like, state)
    partitioner = t5x_peer.partitioner()
    older = checkpoints.Checkpointer(empty, partitioner, str(tmp_path / "back"))
    assert_same(flat(older.restore().state_dict()), wanted)
    orbax = checkpoints.OrbaxCheckpointManagerInterface(str(tmp_path / "back"), empty, partitioner)
    assert orbax.latest_step() == 3
    assert_same(flat(orbax.restore(path=str(written.location)).state_dict()), wanted)
    orbax.close()


def test_logits_are_those_of_t5x(checkpoint, network, state):
    content = open_checkpoint(checkpoint)
    inputs = random_inputs(SIZES["vocab_size"])
    ours = own_logits(content.params, content.config, inputs)
    seen = np.ones_like(inputs.decoder_input_tokens)
    module = t5x_peer.module(network, SIZES)
    theirs = jax.jit(lambda p, *t: module.apply({"params": p}, *t, enable_dropout=False))(
        state.params, *inputs, seen
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_beam_search_finds_the_tokens_of_t5x(network, state):
    """All beams and scores; T5X returns the best one last."""
    model = t5x_peer.model(network, SIZES)
    rng = np.random.default_rng(0)
    inputs = rng.integers(2, SIZES["vocab_size"], (6, 8)).astype(np.int32)
    inputs[1:4, 5:] = 0
    # Predictions that favour the end, so that hypotheses of many lengths finish.
    params = unfreeze(state.params)
    end = params["decoder"]["logits_dense"]["kernel"]
    params["decoder"]["logits_dense"]["kernel"] = end.at[:, 1].set(4.0 * end.mean(axis=1))
    batch = {"encoder_input_tokens": inputs, "decoder_input_tokens": np.zeros((6, 9), np.int32)}
    tokens, aux = jax.jit(
        lambda params, batch: model.predict_batch_with_aux(
            params, batch, decoder_params={"eos_id": 1}, num_decodes=4, return_all_decodes=True
        )
    )(params, batch)
    config = T5Config(
        dtype="float32",
        scan_layers=True,
        position_biases_per_layer=network == "scalable_t5",
        **SIZES,
    )
    here = tensors.read_tree(roll(unroll(tensors.of_tree(params, "T5X"))))
    ours = make_decoder(config, DecodingConfig(max_length=9, num_beams=4))(here, inputs)
    finished = np.asarray(aux["scores"])[:, ::-1] > -1e6
    assert finished.all(axis=1).any()
    for row in range(len(inputs)):
        for beam in range(4):
            if finished[row, beam]:
                np.testing.assert_array_equal(ours.tokens[row, beam], tokens[row, 3 - beam])
                np.testing.assert_allclose(
                    ours.scores[row, beam], aux["scores"][row, 3 - beam], rtol=1e-4
                )


CONFIG = T5Config(dtype="float32", **SIZES)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A sound checkpoint of this package's making, in the older layout, with moments."""
    params = tensors.of_tree(init_params(CONFIG, jax.random.key(0)), "random")
    moments = {
        path: Moments(whole=tensors.of_array(np.full(t.shape, 0.5, np.float32), "half"))
        if len(t.shape) < 2 or min(t.shape) < 128
        else Moments(
            along=tuple(tensors.of_array(np.full(n, 0.5, np.float32), "half") for n in t.shape)
        )
        for path, t in params.items()
    }
    folder = tmp_path_factory.mktemp("written") / "model_dir"
    write_checkpoint(folder, Content(CONFIG, params, moments, 7), "t5x")
    return folder


@pytest.fixture
def copy(written, tmp_path):
    """A copy to break."""
    shutil.copytree(written, tmp_path / "copy")
    return tmp_path / "copy" / "checkpoint_7"


def refused(directory, match):
    with pytest.raises(ValueError, match=match) as caught:
        content = open_checkpoint(directory, "t5x")
        for tensor in content.params.values():
            tensor.read()
    assert "\n" not in str(caught.value)


def edit_index(directory, change):
    file = directory / "checkpoint"
    index = serialization.msgpack_restore(file.read_bytes())
    change(index["optimizer"])
    file.write_bytes(serialization.msgpack_serialize(index))


def test_what_is_written_is_read(written):
    content = read_t5x(find_t5x(written))
    assert content.step == 7 and content.config == CONFIG
    wanted = init_params(CONFIG, jax.random.key(0))
    assert_same({path: t.read() for path, t in content.params.items()}, flat(wanted))
    assert set(content.moments) == set(content.params)
    index = find_t5x(written) / "checkpoint"
    assert read_t5x(find_t5x(index)).step == 7
    assert (written / "checkpoint_7" / "target.encoder.encoder_norm.scale" / ".zarray").is_file()


def test_the_newest_checkpoint_is_taken(copy):
    shutil.copytree(copy, copy.parent / "checkpoint_12")
    edit_index(copy.parent / "checkpoint_12", lambda index: index["state"].update(step=12))
    assert open_checkpoint(copy.parent).step == 12
    assert open_checkpoint(copy).step == 7


def test_bfloat16_is_read_and_so_are_its_bits_in_version_2(copy):
    kernel = np.asarray(jnp.arange(131 * 160, dtype=jnp.bfloat16).reshape(131, 160) / 7)
    for array in (kernel, kernel.view(np.uint16)):
        folder = copy / "target.token_embedder.embedding"
        shutil.rmtree(folder)
        write_zarr(folder, array)
        found = open_checkpoint(copy).params["token_embedder/embedding"].read()
        np.testing.assert_array_equal(found, kernel)
        assert found.dtype == jnp.bfloat16


def test_public_indices_name_buckets(copy):
    def to_bucket(index):
        spec = index["target"]["encoder"]["encoder_norm"]["scale"]
        path = spec["kvstore"]["path"]
        index["target"]["encoder"]["encoder_norm"]["scale"] = {
            **spec,
            "kvstore": {"driver": "gfile"},
            "path": path,
        }

    edit_index(copy, to_bucket)
    scale = open_checkpoint(copy).params["encoder/encoder_norm/scale"]
    np.testing.assert_array_equal(scale.read(), np.ones(160))


def test_lost_and_truncated_pieces_are_named(copy):
    """tensorstore alone would read a lost piece as zeros."""
    folder = copy / "target.decoder.layers_0.mlp.wo.kernel"
    piece = folder / "0.0"
    whole = piece.read_bytes()
    piece.write_bytes(whole[: len(whole) // 2])
    refused(copy, f"{folder} cannot be read")
    piece.unlink()
    refused(copy, f"{folder} cannot be read .*missing")
    shutil.rmtree(folder)
    refused(copy, rf"{folder} is missing \(target/decoder/layers_0/mlp/wo/kernel\); copy the whole")


def test_damaged_and_foreign_indices_are_named(copy, tmp_path):
    index = copy / "checkpoint"
    whole = index.read_bytes()
    index.write_bytes(whole[:300])
    refused(copy, f"{index} is no readable T5X index")
    index.write_bytes(b"model_checkpoint_path: a TensorFlow checkpoint")
    refused(copy, f"{index} is no readable T5X index")
    index.write_bytes(whole)
    edit_index(copy, lambda tree: tree.pop("target"))
    refused(copy, "has no parameters under 'target/'")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no checkpoint of T5X")
    refused(tmp_path / "nowhere", "nowhere does not exist")


def test_missing_and_misshapen_parameters_are_named(copy):
    def lose(tree):
        del tree["target"]["decoder"]["layers_1"]["mlp"]

    edit_index(copy, lose)
    refused(copy, r"parameters are missing: decoder/layers_1/mlp/wi_0/kernel \(160, 200\)")

    def misshape(tree):
        tree["target"]["decoder"]["layers_1"]["mlp"] = {
            "wi_0": {"kernel": np.zeros((160, 9), np.float32)},
            "wi_1": {"kernel": np.zeros((160, 200), np.float32)},
            "wo": {"kernel": np.zeros((200, 160), np.float32)},
        }

    edit_index(copy, misshape)
    refused(copy, r"decoder/layers_1/mlp/wi_0/kernel.* has the shape \(160, 9\).*\(160, 200\)")


def test_an_index_that_disagrees_with_its_folder_is_refused(copy):
    folder = copy / "target.encoder.encoder_norm.scale"
    metadata = json.loads((folder / ".zarray").read_text())
    (folder / ".zarray").write_text(json.dumps({**metadata, "shape": [80], "chunks": [160]}))
    refused(copy, rf"{folder} has the shape \(80,\), its index says \(160,\)")


def test_an_index_may_not_lead_outside(copy):
    def lead_away(tree):
        spec = tree["target"]["encoder"]["encoder_norm"]["scale"]
        spec["kvstore"]["path"] = "../../elsewhere"

    edit_index(copy, lead_away)
    refused(copy, "refers to '../../elsewhere', which is not beside it")


def test_other_collections_are_said_and_other_parameters_refused_later(copy):
    extra = {"scale": np.ones(3, np.float32)}
    edit_index(copy, lambda tree: tree.update(flax_mutables={"presence": extra}))
    edit_index(copy, lambda tree: tree["target"].update(adapter=extra))
    content = open_checkpoint(copy)
    assert content.leftovers == ("target/adapter/scale (3,)",)
    assert any("flax_mutables/presence/scale (3,)" in note for note in content.notes)


def test_another_optimizer_is_refused_but_its_parameters_are_not(copy):
    def to_adam(tree):
        tree["state"]["param_states"] = {"mu": {"encoder": np.zeros(3, np.float32)}}

    edit_index(copy, to_adam)
    refused(copy, "the optimizer's state for 'mu'.*not Adafactor's.*--parameters_only")
    assert read_t5x(copy, parameters_only=True).moments is None
