"""Hugging Face folders: transformers' own logits and tokens, any layout of files, no pickles."""

import dataclasses
import json

import families
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convert import huggingface_peer
from models import numpy_t5
from safetensors.numpy import load_file, save_file

from presence_t5x.checkpoint import load_model
from presence_t5x.config_types import DecodingConfig, T5Config
from presence_t5x.convert import huggingface_files, one_stack_configs, stacks, tensors
from presence_t5x.convert.conversion import Conversion, convert
from presence_t5x.convert.formats import open_checkpoint
from presence_t5x.convert.huggingface_config import read_config, write_config
from presence_t5x.convert.huggingface_files import read_huggingface, write_huggingface
from presence_t5x.convert.logits import own_logits, random_inputs
from presence_t5x.decode import make_decoder

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that are not ours

LOGIT_TOLERANCE = 1e-4  # the requirement; logits are of size 1 to 10
INPUTS = random_inputs(515)
MODELS = [
    ("mt5", True),
    ("mt5", False),
    ("t5", True),
    ("t5", False),
    ("umt5", True),
    ("umt5", False),
]


def to_presence(source, target, **options):
    return convert(
        Conversion(
            source=source, target=target, source_format="hf", target_format="presence", **options
        )
    )


def to_huggingface(source, target, source_format="presence"):
    return convert(
        Conversion(source=source, target=target, source_format=source_format, target_format="hf")
    )


def logits_here(model_dir):
    model, params = load_model(model_dir)
    seen = np.ones_like(INPUTS.decoder_input_tokens)
    return jax.jit(lambda p, *t: model.apply({"params": p}, *t, enable_dropout=False))(
        params, *INPUTS, seen
    )


@pytest.mark.parametrize("family, tied", MODELS)
def test_logits_are_those_of_transformers(family, tied, tmp_path):
    theirs = huggingface_peer.random_model(family, tied=tied)
    folder = huggingface_peer.save(theirs, tmp_path / "theirs")
    wanted = huggingface_peer.logits_of(theirs, *INPUTS)
    assert wanted.std() > 0.1
    report = to_presence(folder, tmp_path / "ours")
    assert report.checks[0].difference < LOGIT_TOLERANCE
    np.testing.assert_allclose(logits_here(tmp_path / "ours"), wanted, atol=LOGIT_TOLERANCE)
    to_huggingface(tmp_path / "ours", tmp_path / "back")
    there, back = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "back"))
    for name, array in there.items():
        np.testing.assert_array_equal(back[name], array, name)
    assert back.keys() - there.keys() <= {"lm_head.weight"}


def test_other_activations(tmp_path):
    for feed_forward in ("relu", "gated-silu"):
        theirs = huggingface_peer.random_model("t5", tied=True, feed_forward_proj=feed_forward)
        folder = huggingface_peer.save(theirs, tmp_path / feed_forward)
        content = read_huggingface(folder)
        ours = own_logits(content.params, content.config, INPUTS)
        wanted = huggingface_peer.logits_of(theirs, *INPUTS)
        np.testing.assert_allclose(ours, wanted, atol=LOGIT_TOLERANCE)


def by_hand(config):
    """A folder's arrays, and T5X's tree of the same parameters, from names written out here."""
    rng = np.random.default_rng(0)
    arrays, tree = {}, {"encoder": {}, "decoder": {}}

    def draw(name, *shape):
        arrays[name] = rng.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)
        return arrays[name]

    joined, emb, mlp = config.num_heads * config.head_dim, config.emb_dim, config.mlp_dim
    tree["token_embedder"] = {"embedding": draw("shared.weight", config.vocab_size, emb)}
    for stack, depth in (("encoder", 2), ("decoder", 3)):
        for i in range(depth):
            block, layer = f"{stack}.block.{i}.layer", {}
            attentions = [("attention", "0.SelfAttention", "pre_attention_layer_norm", 0)]
            if stack == "decoder":
                attentions = [
                    ("self_attention", "0.SelfAttention", "pre_self_attention_layer_norm", 0),
                    ("encoder_decoder_attention", "1.EncDecAttention",
                     "pre_cross_attention_layer_norm", 1),
                ]  # fmt: skip
            for name, theirs, norm, number in attentions:
                layer[name] = {
                    ours: {"kernel": draw(f"{block}.{theirs}.{letter}.weight", *shape).T}
                    for ours, letter, shape in (
                        ("query", "q", (joined, emb)),
                        ("key", "k", (joined, emb)),
                        ("value", "v", (joined, emb)),
                        ("out", "o", (emb, joined)),
                    )
                }
                layer[norm] = {"scale": draw(f"{block}.{number}.layer_norm.weight", emb)}
            last = f"{block}.{len(attentions)}"
            layer["mlp"] = {
                name: {"kernel": draw(f"{last}.DenseReluDense.{name}.weight", *shape).T}
                for name, shape in (("wi_0", (mlp, emb)), ("wi_1", (mlp, emb)), ("wo", (emb, mlp)))
            }
            layer["pre_mlp_layer_norm"] = {"scale": draw(f"{last}.layer_norm.weight", emb)}
            tree[stack][f"layers_{i}"] = layer
        table = draw(
            f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            32,
            config.num_heads,
        )
        tree[stack]["relpos_bias"] = {"rel_embedding": table.T}
        tree[stack][f"{stack}_norm"] = {"scale": draw(f"{stack}.final_layer_norm.weight", emb)}
    logits = draw("lm_head.weight", config.vocab_size, emb).T
    tree["decoder"]["logits_dense"] = {"kernel": logits}
    return arrays, tree


CONFIG = T5Config(
    vocab_size=515,
    emb_dim=32,
    num_heads=3,
    head_dim=7,
    mlp_dim=48,
    num_encoder_layers=2,
    num_decoder_layers=3,
    dtype="float32",
)
VALUES = {"model_type": "mt5", **huggingface_peer.ODD, "tie_word_embeddings": False}


@pytest.fixture(scope="module")
def arrays():
    return by_hand(CONFIG)[0]


@pytest.fixture
def folder(tmp_path, arrays):
    """A sound folder that a test may break."""
    path = tmp_path / "folder"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(VALUES))
    save_file(arrays, path / "model.safetensors")
    return path


def test_a_folder_written_by_hand_means_what_the_papers_say(folder):
    """Without transformers: names from its documentation, numbers from NumPy."""
    _, tree = by_hand(CONFIG)
    content = open_checkpoint(folder)
    seen = np.ones_like(INPUTS.decoder_input_tokens)
    wanted = numpy_t5.numpy_t5(tree, CONFIG, *INPUTS, seen)
    ours = own_logits(content.params, content.config, INPUTS)
    np.testing.assert_allclose(ours, wanted, atol=LOGIT_TOLERANCE)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_shards_and_short_floats_are_read(dtype, folder, arrays):
    names = sorted(arrays)
    short = {name: np.asarray(jnp.asarray(arrays[name], dtype)) for name in names}
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for number, part in enumerate((names[:20], names[20:])):
        file = f"model-0000{number + 1}-of-00002.safetensors"
        save_file({name: short[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    params = open_checkpoint(folder).params
    table = params["token_embedder/embedding"].read()
    np.testing.assert_array_equal(table, short["shared.weight"])
    kernel = params["decoder/layers_2/mlp/wo/kernel"].read()
    np.testing.assert_array_equal(
        kernel, short["decoder.block.2.layer.2.DenseReluDense.wo.weight"].T
    )


def test_large_folders_are_written_in_shards(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_files, "_SHARD_BYTES", 70_000)
    content = open_checkpoint(folder)
    write_huggingface(tmp_path / "shards", content.params, content.config)
    files = sorted(path.name for path in (tmp_path / "shards").glob("*.safetensors"))
    assert len(files) > 2 and files[0].startswith("model-00001-of-")
    index = json.loads((tmp_path / "shards" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(files)
    again = open_checkpoint(tmp_path / "shards").params
    for path, tensor in content.params.items():
        np.testing.assert_array_equal(again[path].read(), tensor.read(), path)


def test_copies_of_the_token_table_are_known(folder, arrays):
    copies = dict.fromkeys(
        ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"), arrays["shared.weight"]
    )
    save_file({**arrays, **copies}, folder / "model.safetensors")
    assert not open_checkpoint(folder).leftovers
    without = {name: array for name, array in arrays.items() if name != "shared.weight"}
    save_file({**without, **copies}, folder / "model.safetensors")
    table = open_checkpoint(folder).params["token_embedder/embedding"]
    np.testing.assert_array_equal(table.read(), arrays["shared.weight"])
    other = {"encoder.embed_tokens.weight": arrays["shared.weight"] + 1}
    save_file({**arrays, **other}, folder / "model.safetensors")
    assert open_checkpoint(folder).leftovers == ("encoder.embed_tokens.weight (515, 32)",)


def change_config(folder, **values):
    (folder / "config.json").write_text(json.dumps({**VALUES, **values}))


def change_arrays(folder, arrays, **values):
    kept = {name: array for name, array in {**arrays, **values}.items() if array is not None}
    save_file(kept, folder / "model.safetensors")


def refused(folder, match):
    with pytest.raises(ValueError, match=match) as caught:
        open_checkpoint(folder, "hf")
    assert "\n" not in str(caught.value)


EXTRAS = {
    "encoder_only": {
        "roberta.embeddings.position_ids": np.arange(11)[None],
        "roberta.pooler.dense.weight": np.zeros((24, 24), np.float32),
        "roberta.pooler.dense.bias": np.zeros(24, np.float32),
    },
    "decoder_only": {
        "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(3, np.float32),
    },
}


@pytest.mark.parametrize("family", EXTRAS)
def test_buffers_and_unused_heads_are_left_out(family, tmp_path):
    """As published folders of these families have them, and no model made today."""
    config = dataclasses.replace(families.CONFIGS[family], emb_dim=24, mlp_dim=5)
    params = stacks.unroll(tensors.of_tree(families.params_of(config), "random"))
    write_huggingface(tmp_path / "model", params, config)
    file = tmp_path / "model" / "model.safetensors"
    save_file(load_file(file) | EXTRAS[family], file)
    found = read_huggingface(tmp_path / "model")
    assert not found.leftovers
    for path, tensor in params.items():
        np.testing.assert_array_equal(found.params[path].read(), tensor.read())
    assert any("pooler" in note for note in found.notes) == (family == "encoder_only")
    assert any("begin with id 0" in note for note in found.notes) == (family == "decoder_only")


def test_a_llama_names_no_padding(tmp_path):
    """Its begin token has the id that would be named: generate without a mask would hide it."""
    config = families.CONFIGS["decoder_only"]
    params = stacks.unroll(tensors.of_tree(families.params_of(config), "random"))
    write_huggingface(tmp_path / "model", params, config)
    for name in ("config.json", "generation_config.json"):
        told = json.loads((tmp_path / "model" / name).read_text())
        assert (told["pad_token_id"], told["bos_token_id"], told["eos_token_id"]) == (None, 0, 1)
    found = read_huggingface(tmp_path / "model")
    assert dataclasses.replace(found.config, scan_layers=False) == config


def test_an_encoder_names_padding_alone(tmp_path):
    """Begin token and EOS are the vocabulary's: 0 and 2 would be read by whoever frames rows."""
    config = dataclasses.replace(families.CONFIGS["encoder_only"], emb_dim=24)
    params = stacks.unroll(tensors.of_tree(families.params_of(config), "random"))
    write_huggingface(tmp_path / "model", params, config)
    for name in ("config.json", "generation_config.json"):
        told = json.loads((tmp_path / "model" / name).read_text())
        assert (told["pad_token_id"], told["bos_token_id"], told["eos_token_id"]) == (1, None, None)


@pytest.mark.parametrize("has_classes", [True, False])
def test_a_table_that_is_not_tied_matters_to_a_masked_model_alone(has_classes):
    family = "classifier" if has_classes else "encoder_only"
    config = dataclasses.replace(families.CONFIGS[family], emb_dim=24)
    values = one_stack_configs.write_config(config)
    values["tie_word_embeddings"] = False
    if has_classes:
        assert one_stack_configs.read_config(values).num_classes
    else:
        with pytest.raises(ValueError, match="tie_word_embeddings=False is not supported"):
            one_stack_configs.read_config(values)


def test_a_pickle_is_refused_with_the_remedy(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, "pytorch_model.bin alone, a pickle, which is never loaded.*save_pretrained")
    (folder / "pytorch_model.bin").unlink()
    refused(folder, "neither model.safetensors nor model.safetensors.index.json")


@pytest.mark.parametrize("length", [4, 500, -100])
def test_truncated_files_are_named(length, folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    refused(folder, f"{file} is no readable safetensors file")


def test_missing_and_misshapen_parameters_are_named(folder, arrays):
    name = "decoder.block.1.layer.1.EncDecAttention.q.weight"
    change_arrays(folder, arrays, **{name: None})
    refused(folder, r"missing: decoder/layers_1/encoder_decoder_attention/query/kernel \(32, 21\)")
    change_arrays(folder, arrays, **{name: np.zeros((20, 32), np.float32)})
    refused(folder, rf"model.safetensors: {name} .*has the shape \(32, 20\).*\(32, 21\)")
    change_arrays(folder, arrays, **{name: np.zeros((21, 32), np.int64)})
    refused(folder, rf"{name} has the type I64")
    change_arrays(folder, arrays, **{"lm_head.weight": None})
    refused(folder, "'lm_head.weight' is missing, and config.json says tie_word_embeddings: false")


def test_indices_that_lead_astray_are_refused(folder, arrays):
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"shared.weight": "../elsewhere.safetensors"}}))
    refused(folder, "refers to '../elsewhere.safetensors', which is not beside it")
    index.write_text(json.dumps({"weight_map": {"shared.weight": "gone.safetensors"}}))
    refused(folder, "gone.safetensors is missing; copy the whole folder")
    index.write_text(json.dumps({"weight_map": {"lost.weight": "model.safetensors"}}))
    refused(folder, r"parameters of model.safetensors.index.json are missing: lost.weight \(of mod")
    index.write_text("{")
    refused(folder, f"{index}: damaged .no readable JSON")


@pytest.mark.parametrize(
    "values, match",
    [
        ({"model_type": "bart"}, r"config.json: model_type='bart' is none that is read here"),
        ({"relative_attention_num_buckets": 64}, "relative_attention_num_buckets=64 .* must be 32"),
        ({"layer_norm_epsilon": 1e-5}, "layer_norm_epsilon=1e-05 is not supported"),
        ({"feed_forward_proj": "gelu"}, "feed_forward_proj='gelu' is not supported; use one of"),
        ({"d_model": 33}, r"model.safetensors: .* has the shape .*; a model of its sizes has"),
        ({"num_layers": 0}, "num_encoder_layers=0 must be >= 1"),
    ],
)
def test_other_models_are_refused(values, match, folder):
    change_config(folder, **values)
    refused(folder, match)


def test_a_tied_mt5_of_transformers_4_has_to_say_whether_it_scales(folder, arrays):
    change_arrays(folder, arrays, **{"lm_head.weight": None})
    old = {"tie_word_embeddings": True, "transformers_version": "4.40.0"}
    change_config(folder, **old)
    refused(folder, '4.40.0 scaled the logits of a tied mt5.*add "scale_decoder_outputs"')
    change_config(folder, **old, scale_decoder_outputs=True)
    assert open_checkpoint(folder).config.logits_via_embedding
    change_config(folder, **old, scale_decoder_outputs=False)
    content = open_checkpoint(folder)
    assert not content.config.logits_via_embedding
    np.testing.assert_array_equal(
        content.params["decoder/logits_dense/kernel"].read(), arrays["shared.weight"].T
    )


def test_configs_survive_a_round_trip():
    for changes in (
        {},
        {"logits_via_embedding": True},
        {"position_biases_per_layer": True},
        {"position_biases_per_layer": True, "logits_via_embedding": True},
        {"mlp_activations": ("relu",)},
    ):
        config = T5Config(**{**vars(CONFIG), "scan_layers": True, **changes})
        found = read_config(write_config(config), has_output=not config.logits_via_embedding)
        assert found.scales_logits == config.logits_via_embedding
        assert T5Config(**{**vars(found.config), **changes}) == config
    with pytest.raises(ValueError, match=r"mlp_activations=\('linear', 'gelu'\) have no name"):
        write_config(T5Config(**{**vars(CONFIG), "mlp_activations": ("linear", "gelu")}))


@pytest.mark.parametrize("tied, length_penalty", [(True, 1.0), (False, 0.3), (False, 0.0)])
def test_beam_search_finds_the_tokens_of_transformers(tied, length_penalty, tmp_path):
    """With `generate`'s defaults: some hypotheses end by themselves, others at the length limit."""
    torch, _ = huggingface_peer.need_transformers()
    theirs = huggingface_peer.random_model("mt5", tied=tied, vocab_size=13)
    with torch.no_grad():  # flatter predictions, so that every hypothesis may end anywhere
        theirs.decoder.final_layer_norm.weight *= 0.5
    to_presence(huggingface_peer.save(theirs, tmp_path / "theirs"), tmp_path / "ours")
    model, params = load_model(tmp_path / "ours")
    rng = np.random.default_rng(1)
    inputs = rng.integers(2, 13, (8, 9)).astype(np.int32)
    inputs[1:3, 6:] = 0
    wanted = theirs.generate(
        input_ids=torch.tensor(inputs.astype(np.int64)),
        attention_mask=torch.tensor((inputs > 0).astype(np.int64)),
        num_beams=4,
        num_return_sequences=4,
        max_new_tokens=10,
        length_penalty=length_penalty,
        do_sample=False,
        use_cache=False,  # 5.24 sizes it by the encoder's depth, and fails
        return_dict_in_generate=True,
        output_scores=True,
    )
    decoding = DecodingConfig(
        max_length=10, num_beams=4, alpha=length_penalty, convention="huggingface"
    )
    ours = make_decoder(model.config, decoding)(params, inputs)
    scores = wanted.sequences_scores.numpy().reshape(8, 4)
    np.testing.assert_allclose(ours.scores, scores, rtol=1e-4)
    sequences = wanted.sequences.numpy()[:, 1:].reshape(8, 4, -1)
    is_end = sequences == 1
    assert is_end.any() and (length_penalty == 0.0 or not is_end.any(-1).all())
    after_end = np.cumsum(is_end, axis=-1) - is_end > 0
    length = sequences.shape[-1]
    np.testing.assert_array_equal(ours.tokens[..., :length], np.where(after_end, 0, sequences))
