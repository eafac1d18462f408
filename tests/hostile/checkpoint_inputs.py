"""Checkpoints that are none, or lie about what they hold."""

import json
import pickle
import struct

import msgpack
import numpy as np
import tiny_model
from hostile.harness import Corpus
from safetensors.numpy import load_file, save_file

CASES = Corpus()
_WEIGHTS = "model.safetensors"
SIZES = {**tiny_model.SIZES, "vocab_size": 384}


def converted(place, source, source_format, target_format="presence"):
    """The arguments of a conversion."""
    formats = [f"--from={source_format}", f"--to={target_format}", "--skip_check"]
    return [*formats, str(source), str(place.output / "target")]


def from_huggingface(place, spoil):
    """The conversion of a folder after `spoil(folder)`."""
    folder = place.valid.copy("huggingface", place.folder)
    spoil(folder)
    return converted(place, folder, "hf")


def with_header(place, change):
    """The conversion of a folder whose safetensors header went through `change(header, size)`."""

    def spoil(folder):
        content = (folder / _WEIGHTS).read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
        changed = json.dumps(change(header, len(data)) or header).encode()
        (folder / _WEIGHTS).write_bytes(struct.pack("<Q", len(changed)) + changed + data)

    return from_huggingface(place, spoil)


def with_arrays(place, change):
    """The conversion of a folder whose arrays went through `change(arrays)`."""

    def spoil(folder):
        arrays = load_file(folder / _WEIGHTS)
        change(arrays)
        save_file(arrays, folder / _WEIGHTS)

    return from_huggingface(place, spoil)


def with_config(place, **values):
    """The conversion of a folder whose config.json says something else."""

    def spoil(folder):
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return from_huggingface(place, spoil)


def from_presence(place, spoil):
    """The conversion of a MODEL_DIR after `spoil(checkpoint)`."""
    folder = place.valid.copy("presence", place.folder)
    spoil(folder / "checkpoints" / "3")
    return converted(place, folder, "presence", "hf")


def from_t5x(place, spoil):
    """The conversion of a T5X checkpoint after `spoil(checkpoint)`."""
    folder = place.valid.copy("t5x", place.folder)
    spoil(folder)
    return converted(place, folder, "t5x")


def with_index(place, change):
    """The conversion of a T5X checkpoint whose index went through `change(index)`."""

    def spoil(folder):
        file = folder / "checkpoint"
        index = msgpack.unpackb(file.read_bytes(), raw=False, strict_map_key=False)
        change(index)
        file.write_bytes(msgpack.packb(index))

    return from_t5x(place, spoil)


def embedding_of(index):
    """The specification of the token table in a T5X index."""
    return index["optimizer"]["target"]["token_embedder"]["embedding"]


@CASES.add("convert", "does not exist")
def absent(place):
    return converted(place, place.folder / "nowhere", "hf")


@CASES.add("convert", "holds no checkpoint", "MODEL_DIR")
def folder_of_something_else(place):
    (place.folder / "notes.txt").write_text("nothing to see")
    return converted(place, place.folder, "presence", "hf")


@CASES.add("convert", "holds no checkpoint")
def file_for_a_folder(place):
    file = place.folder / "model.ckpt"
    file.write_bytes(b"\x80\x04.")
    return converted(place, file, "presence", "hf")


@CASES.add("convert", "pickle", "never loaded", "safetensors")
def pickle_alone(place):
    class Harmful:
        def __reduce__(self):
            return (open, (str(place.output / "was_run"), "w"))

    def spoil(folder):
        (folder / _WEIGHTS).unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful()))

    return from_huggingface(place, spoil)


@CASES.add("convert", _WEIGHTS, "no readable safetensors")
def pickle_named_safetensors(place):
    class Harmful:
        def __reduce__(self):
            return (open, (str(place.output / "was_run"), "w"))

    return from_huggingface(
        place, lambda folder: (folder / _WEIGHTS).write_bytes(pickle.dumps(Harmful()))
    )


@CASES.add("convert", _WEIGHTS, "no readable safetensors")
def truncated_weights(place):
    def spoil(folder):
        content = (folder / _WEIGHTS).read_bytes()
        (folder / _WEIGHTS).write_bytes(content[: len(content) // 2])

    return from_huggingface(place, spoil)


@CASES.add("convert", _WEIGHTS, "no readable safetensors")
def header_longer_than_its_file(place):
    return from_huggingface(
        place, lambda folder: (folder / _WEIGHTS).write_bytes(b"\xff" * 7 + b"\x7f{}")
    )


@CASES.add("convert", _WEIGHTS, "no readable safetensors")
def overlapping_offsets(place):
    def change(header, size):
        del size
        names = [name for name in header if name != "__metadata__"]
        header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]

    return with_header(place, change)


@CASES.add("convert", _WEIGHTS, "no readable safetensors")
def offsets_beyond_the_file(place):
    def change(header, size):
        name = next(name for name in header if name != "__metadata__")
        header[name]["data_offsets"] = [0, size * 1000]

    return with_header(place, change)


@CASES.add("convert", _WEIGHTS, "no readable safetensors")
def absurd_shape(place):
    def change(header, size):
        del size
        name = next(name for name in header if name != "__metadata__")
        header[name]["shape"] = [2**40, 2**40]

    return with_header(place, change)


@CASES.add("convert", _WEIGHTS, "no readable safetensors")
def header_nested_to_the_limit(place):
    def spoil(folder):
        header = b'{"a":' * 100_000
        (folder / _WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header)

    return from_huggingface(place, spoil)


@CASES.add("convert", "shared.weight", "I64", "F32")
def integers_for_parameters(place):
    def change(arrays):
        arrays["shared.weight"] = arrays["shared.weight"].astype(np.int64)

    return with_arrays(place, change)


@CASES.add("convert", "SelfAttention.q.weight", r"shape")
def wrong_shape(place):
    def change(arrays):
        name = "encoder.block.0.layer.0.SelfAttention.q.weight"
        arrays[name] = np.ones((3, 5), np.float32)

    return with_arrays(place, change)


@CASES.add("convert", "missing", "layers_0")
def parameter_that_is_not_there(place):
    return with_arrays(
        place, lambda arrays: arrays.pop("decoder.block.0.layer.1.EncDecAttention.o.weight")
    )


@CASES.add("convert", "stranger", "--drop_unmapped")
def parameter_too_many(place):
    return with_arrays(place, lambda arrays: arrays.update(stranger=np.ones(3, np.float32)))


@CASES.add("convert", r"\.\./outside", "not beside it")
def index_that_leaves_the_folder(place):
    def spoil(folder):
        index = {"weight_map": {"shared.weight": "../outside.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return from_huggingface(place, spoil)


@CASES.add("convert", "index.json", "names no files|no JSON object")
def index_of_a_wrong_type(place):
    return from_huggingface(
        place, lambda folder: (folder / "model.safetensors.index.json").write_text("[1]")
    )


@CASES.add("convert", "config.json", "JSON")
def config_cut_in_two(place):
    return from_huggingface(place, lambda folder: (folder / "config.json").write_text('{"d_mo'))


@CASES.add("convert", "config.json", "JSON")
def config_nested_to_the_limit(place):
    return from_huggingface(
        place, lambda folder: (folder / "config.json").write_text("[" * 100_000)
    )


@CASES.add("convert", "config.json", "num_encoder_layers", "<=")
def config_of_a_billion_layers(place):
    return with_config(place, num_layers=10**9)


@CASES.add("convert", "config.json", "emb_dim", "integer")
def text_for_a_size(place):
    return with_config(place, d_model="sixteen")


@CASES.add("convert", "config.json", "num_decoder_layers|num_encoder_layers", "integer")
def null_for_a_size(place):
    return with_config(place, num_layers=None)


@CASES.add("convert", "config.json", "feed_forward_proj")
def list_for_an_activation(place):
    return with_config(place, feed_forward_proj=["relu"])


@CASES.add("convert", "config.json", "model_type='bert'", "'llama'")
def another_family(place):
    return with_config(place, model_type="bert")


@CASES.add("convert", "config.json", "model_type=\\['llama'\\]")
def list_for_a_family(place):
    return with_config(place, model_type=["llama"])


_LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
}


@CASES.add("convert", "config.json", "num_attention_heads=0", ">= 1")
def decoder_without_heads(place):
    return with_config(place, **_LLAMA | {"num_attention_heads": 0})


@CASES.add("convert", "config.json", "rope_parameters='linear'", "object")
def text_for_rotary_positions(place):
    return with_config(place, **_LLAMA, rope_scaling="linear")


@CASES.add("convert", _WEIGHTS, "missing|safetensors")
def link_to_itself(place):
    def spoil(folder):
        (folder / _WEIGHTS).unlink()
        (folder / _WEIGHTS).symlink_to(folder / _WEIGHTS)

    return from_huggingface(place, spoil)


@CASES.add("convert", _WEIGHTS, "no readable safetensors")
def link_to_another_file(place):
    def spoil(folder):
        (folder / _WEIGHTS).unlink()
        (folder / _WEIGHTS).symlink_to("/etc/passwd")

    return from_huggingface(place, spoil)


@CASES.add("convert", "checkpoint", "no readable T5X index")
def index_cut_in_two(place):
    def spoil(folder):
        content = (folder / "checkpoint").read_bytes()
        (folder / "checkpoint").write_bytes(content[: len(content) // 2])

    return from_t5x(place, spoil)


@CASES.add("convert", "checkpoint", "no readable T5X index")
def index_of_nothing_but_brackets(place):
    return from_t5x(
        place, lambda folder: (folder / "checkpoint").write_bytes(b"\x91" * 100_000 + b"\xc0")
    )


@CASES.add("convert", "checkpoint", "no parameters|no readable")
def index_that_is_a_number(place):
    return from_t5x(place, lambda folder: (folder / "checkpoint").write_bytes(msgpack.packb(7)))


@CASES.add("convert", r"\.\.", "not beside it")
def array_outside_of_its_checkpoint(place):
    def change(index):
        embedding_of(index)["kvstore"]["path"] = "../../elsewhere"

    return with_index(place, change)


@CASES.add("convert", "token_embedder", "damaged|metadata|no readable")
def specification_of_wrong_types(place):
    def change(index):
        embedding_of(index)["metadata"] = 5
        embedding_of(index)["kvstore"] = []

    return with_index(place, change)


@CASES.add("convert", "checkpoint_3", "vocab_size=1099511627776", "no T5")
def index_with_an_absurd_shape(place):
    def change(index):
        embedding_of(index)["metadata"]["shape"] = [2**40, 16]

    return with_index(place, change)


@CASES.add("convert", "state/step", "not one integer", "damaged")
def step_that_is_text(place):
    return with_index(place, lambda index: index["optimizer"]["state"].update(step="seven"))


@CASES.add("convert", "token_embedder", "cannot be read|damaged")
def truncated_array(place):
    def spoil(folder):
        (chunk,) = folder.glob("target.token_embedder.embedding/0.0")
        chunk.write_bytes(chunk.read_bytes()[:100])

    return from_t5x(place, spoil)


@CASES.add("convert", "token_embedder", "missing", "copy the whole")
def array_that_was_not_copied(place):
    def spoil(folder):
        (folder / "target.token_embedder.embedding" / ".zarray").unlink()

    return from_t5x(place, spoil)


def as_integers(array):
    """Lets the folder of an array say that its numbers are integers."""
    meta = json.loads((array / ".zarray").read_text())
    (array / ".zarray").write_text(json.dumps(meta | {"dtype": "<i4"}))


@CASES.add("convert", "token_embedder", "int32", "float")
def array_of_integers(place):
    return from_t5x(place, lambda folder: as_integers(folder / "target.token_embedder.embedding"))


@CASES.add("convert", "params", "no readable Orbax tree")
def tree_without_metadata(place):
    return from_presence(place, lambda found: (found / "params" / "_METADATA").unlink())


@CASES.add("convert", "params", "no readable Orbax tree")
def tree_of_wrong_metadata(place):
    return from_presence(
        place, lambda found: (found / "params" / "_METADATA").write_text('{"use_zarr3": []}')
    )


@CASES.add("convert", "token_embedder", "cannot be read|no readable")
def parameters_truncated(place):
    def spoil(found):
        (chunk,) = (found / "params").glob("token_embedder.embedding/0.0")
        chunk.write_bytes(chunk.read_bytes()[:50])

    return from_presence(place, spoil)


@CASES.add("convert", "position", "damaged", "another checkpoint")
def settings_cut_in_two(place):
    def spoil(found):
        file = found / "position" / "metadata"
        file.write_text(file.read_text()[:40])

    return from_presence(place, spoil)


@CASES.add("convert", "position", "damaged|model", "another")
def settings_of_another_kind(place):
    return from_presence(
        place, lambda found: (found / "position" / "metadata").write_text('{"settings": [1]}')
    )


def with_model(place, **values):
    """The conversion of a checkpoint whose model settings say something else."""

    def spoil(found):
        file = found / "position" / "metadata"
        position = json.loads(file.read_text())
        position["settings"]["model"] |= values
        file.write_text(json.dumps(position))

    return from_presence(place, spoil)


@CASES.add("convert", "position", "emb_dims")
def setting_that_no_model_has(place):
    return with_model(place, emb_dims=5)


@CASES.add("convert", "position|params", "emb_dim", "integer")
def setting_of_a_wrong_type(place):
    return with_model(place, emb_dim="wide")


@CASES.add("convert", "params", "shape|missing")
def settings_of_another_model(place):
    return with_model(place, emb_dim=32)


@CASES.add("evaluate", "position", "emb_dims")
def evaluation_of_such_a_checkpoint(place):
    with_model(place, emb_dims=5)
    return [f"--checkpoint={place.folder / 'presence'}", "--task=encyclopedia_nli_zeroshot"]


@CASES.add("train", "INITIAL_CHECKPOINT|nowhere", "does not exist")
def run_from_an_absent_checkpoint(place):
    return started(place, place.folder / "nowhere")


@CASES.add("train", "is of another model", "emb_dim")
def run_from_another_model(place):
    return started(place, place.valid.huggingface)


@CASES.add("train", "cannot be read")
def run_from_a_truncated_array(place):
    def spoil(array):
        chunk = array / "0.0"
        chunk.write_bytes(chunk.read_bytes()[:100])

    return from_spoilt(place, spoil)


@CASES.add("train", "INITIAL_CHECKPOINT", "token_embedder", "int32", "floating-point")
def run_from_an_array_of_integers(place):
    return from_spoilt(place, as_integers)


def from_spoilt(place, spoil):
    """The arguments of a run from a checkpoint of the right sizes whose embedding is spoilt."""
    folder = place.valid.copy("t5x", place.folder)
    spoil(folder / "target.token_embedder.embedding")
    sizes = [f"--gin.T5Config.{name}={size}" for name, size in SIZES.items()]
    # A run leaves its settings behind when it could start but for this.
    return [*started(place._replace(output=place.folder), folder), *sizes]


def started(place, checkpoint):
    """The arguments of a run from a checkpoint."""
    values = {
        "MODEL_DIR": str(place.output / "run"),
        "LOCAL_TEXT_FILES": str(place.valid.texts),
        "PREPARED_DIR": str(place.folder / "data"),
        "VOCABULARY_FILE": "bytes",
        "INITIAL_CHECKPOINT": str(checkpoint),
        "TRAIN_STEPS": 4,  # one more than it has
    }
    file = "--gin_file=configs/runs/pretrain_local.gin"
    return [file, *(f"--gin.{name}={value!r}" for name, value in values.items())]
