"""Llama and XLM-RoBERTa of transformers, randomly initialised, give the same logits."""

import dataclasses
import functools

import families
import jax.numpy as jnp
import numpy as np
import pytest
from convert.huggingface_peer import need_transformers, save
from safetensors.numpy import load_file

from presence_t5x.config_types import DecoderOnlyConfig, DecodingConfig, EncoderOnlyConfig
from presence_t5x.convert import content, stacks, tensors
from presence_t5x.convert.conversion import Conversion, convert
from presence_t5x.convert.huggingface_families import LLAMA, XLM_ROBERTA, exchange_ids
from presence_t5x.convert.huggingface_files import write_huggingface
from presence_t5x.convert.stacks import roll
from presence_t5x.decode import make_decoder

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that are not ours

TOLERANCE = 1e-4  # the requirement; logits are of size 1
LENGTH, ROWS = 13, 3
LENGTHS = (13, 7, 1)
SIZES = {"vocab_size": 77, "hidden_size": 24, "intermediate_size": 37, "num_hidden_layers": 3}


def randomise(model):
    """Draws weights far from their symmetric start."""
    torch, _ = need_transformers()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name.lower() and name.endswith("weight"):
                parameter.uniform_(0.5, 1.5)
            elif parameter.ndim == 1:
                parameter.normal_(0, 0.3)
            else:
                parameter.normal_(0, parameter.shape[-1] ** -0.5)
    return model.eval()


def own_params(model, config, names):
    """Returns the parameters of a model of theirs as ours, scanned or not."""
    found = {
        name: tensors.of_array(value.detach().numpy(), name)
        for name, value in model.state_dict().items()
    }
    params, left = names.from_huggingface(found, list(content.expected_shapes(config)))
    tied = ("lm_head.decoder.weight", "lm_head.decoder.bias", "lm_head.weight")
    unused = [name for name in left if name not in tied and "position_ids" not in name]
    assert not unused
    back = names.to_huggingface(params)
    for name, tensor in back.items():
        np.testing.assert_array_equal(tensor.read(), found[name].read(), name)
    params = roll(params) if config.scan_layers else params
    return {"params": tensors.read_tree(params)}["params"]


def rows_of_tokens(low):
    rng = np.random.default_rng(0)
    tokens = rng.integers(low, SIZES["vocab_size"], (ROWS, LENGTH))
    return tokens, np.arange(LENGTH) < np.array(LENGTHS)[:, None]


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize("kv_heads, tied", [(2, False), (6, True), (1, False)])
def test_llama(kv_heads, tied, scan_layers):
    torch, transformers = need_transformers()
    theirs = randomise(
        transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                **SIZES, num_attention_heads=6, num_key_value_heads=kv_heads, head_dim=4,
                rms_norm_eps=1e-5, rope_theta=500.0, tie_word_embeddings=tied, pad_token_id=0,
                attn_implementation="eager",
            )
        )
    )  # fmt: skip
    config = DecoderOnlyConfig(
        vocab_size=77, emb_dim=24, num_heads=6, num_kv_heads=kv_heads, head_dim=4, mlp_dim=37,
        num_layers=3, norm_epsilon=1e-5, rotary_base=500.0, logits_via_embedding=tied,
        dtype="float32", scan_layers=scan_layers,
    )  # fmt: skip
    params = own_params(theirs, config, LLAMA)
    tokens, is_real = rows_of_tokens(1)
    batch = {"decoder_input_tokens": tokens, "decoder_target_tokens": is_real.astype(np.int32)}
    ours = families.apply(config, params, {k: jnp.asarray(v) for k, v in batch.items()})
    with torch.no_grad():
        wanted = theirs(
            input_ids=torch.tensor(tokens), attention_mask=torch.tensor(is_real.astype(np.int64))
        ).logits.numpy()
    assert wanted.std() > 0.1
    np.testing.assert_allclose(np.asarray(ours)[is_real], wanted[is_real], atol=TOLERANCE)


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize("num_classes", [None, 3])
def test_xlm_roberta(num_classes, scan_layers):
    torch, transformers = need_transformers()
    settings = transformers.XLMRobertaConfig(
        **SIZES, num_attention_heads=6, max_position_embeddings=LENGTH + 2, type_vocab_size=1,
        pad_token_id=1, layer_norm_eps=1e-5, num_labels=num_classes or 2,
        attn_implementation="eager",
    )  # fmt: skip
    head = "MaskedLM" if num_classes is None else "SequenceClassification"
    theirs = randomise(getattr(transformers, f"XLMRobertaFor{head}")(settings))
    config = EncoderOnlyConfig(
        vocab_size=77, emb_dim=24, num_heads=6, head_dim=4, mlp_dim=37, num_layers=3,
        max_positions=LENGTH, num_classes=num_classes, dtype="float32", scan_layers=scan_layers,
    )  # fmt: skip
    params = own_params(theirs, config, XLM_ROBERTA)
    tokens, is_real = rows_of_tokens(2)
    tokens[:, 0] = 0  # <s>
    tokens = np.where(is_real, tokens, 1)
    batch = {"encoder_input_tokens": jnp.asarray(exchange_ids(tokens))}
    ours = np.asarray(families.apply(config, params, batch))
    with torch.no_grad():
        wanted = theirs(
            input_ids=torch.tensor(tokens), attention_mask=torch.tensor(is_real.astype(np.int64))
        ).logits.numpy()
    assert wanted.std() > 0.1
    if num_classes is not None:
        np.testing.assert_allclose(ours[:, 0], wanted, atol=TOLERANCE)
        return
    wanted = wanted[..., exchange_ids(np.arange(77))]
    np.testing.assert_allclose(ours[is_real], wanted[is_real], atol=TOLERANCE)


def test_an_exported_llama_generates_alike_without_a_mask(tmp_path):
    torch, transformers = need_transformers()
    config = dataclasses.replace(families.CONFIGS["decoder_only"], emb_dim=24)
    params = families.params_of(config)
    write_huggingface(tmp_path / "ours", stacks.unroll(tensors.of_tree(params, "random")), config)
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "ours")
    inputs = np.random.default_rng(3).integers(2, config.vocab_size, (ROWS, LENGTH))
    begun = torch.tensor(np.pad(inputs, ((0, 0), (1, 0))))
    found = theirs.eval().generate(begun, max_new_tokens=6, do_sample=False).numpy()
    decode = make_decoder(config, DecodingConfig(max_length=6, causal_inputs=True))
    ours = np.asarray(decode(params, jnp.asarray(inputs)).tokens)[:, 0]
    for row, wanted in zip(ours, found[:, 1 + LENGTH :], strict=True):  # filled up behind EOS
        end = [*wanted.tolist(), 1].index(1) + 1
        assert row[:end].tolist() == wanted[:end].tolist()


def llama(transformers, **changes):
    settings = {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 4} | changes
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, **settings))


def xlm_roberta(transformers, head, **changes):
    settings = transformers.XLMRobertaConfig(
        **SIZES, num_attention_heads=6, max_position_embeddings=LENGTH + 2, type_vocab_size=1,
        pad_token_id=1, **changes,
    )  # fmt: skip
    return getattr(transformers, f"XLMRobertaFor{head}")(settings)


CONVERTED = {
    "llama": llama,
    "tied llama": functools.partial(llama, tie_word_embeddings=True),
    "xlm-roberta": functools.partial(xlm_roberta, head="MaskedLM"),
    "classifier": functools.partial(xlm_roberta, head="SequenceClassification", num_labels=3),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_round_trips_are_bit_identical(name, tmp_path):
    _, transformers = need_transformers()
    folder = save(randomise(CONVERTED[name](transformers)), tmp_path / "theirs")
    steps = (("hf", "presence", folder, "ours"), ("presence", "hf", tmp_path / "ours", "back"))
    for source_format, target_format, source, target in steps:
        report = convert(
            Conversion(
                source=source,
                target=tmp_path / target,
                source_format=source_format,
                target_format=target_format,
            )
        )
        (check,) = report.checks
        assert check.difference is not None and check.difference < TOLERANCE
    there, back = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "back"))
    for key, array in back.items():
        np.testing.assert_array_equal(array, there[key], key)
    assert there.keys() - back.keys() <= {"lm_head.decoder.bias", "lm_head.decoder.weight"}
