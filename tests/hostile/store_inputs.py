"""Token stores and scores whose manifest, index or parts were edited, cut or exchanged."""

import hashlib
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hostile.harness import Corpus

CASES = Corpus()


def trained(place, spoil):
    """The arguments of a run on a store after `spoil(directory)`."""
    directory = place.valid.copy("store", place.folder)
    spoil(directory)
    values = {"MODEL_DIR": str(place.output / "run"), "PREPARED_STORES": str(directory)}
    values |= {"TRAIN_STEPS": 1}
    file = "--gin_file=configs/runs/pretrain_prepared.gin"
    bindings = [f"--gin.{name}={value!r}" for name, value in values.items()]
    return [file, *bindings, "--gin.MIX_BY='task'"]


def with_manifest(place, change):
    """The same, with a manifest that went through `change(manifest, directory)`."""

    def spoil(directory):
        file = directory / "manifest.json"
        manifest = json.loads(file.read_text())
        changed = change(manifest, directory)
        file.write_text(json.dumps(manifest if changed is None else changed))

    return trained(place, spoil)


def with_index(place, name, array):
    """The same, with another index array, of which the manifest knows."""

    def change(manifest, directory):
        path = directory / f"{name}.npy"
        np.save(path, array(np.load(path)), allow_pickle=True)
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        manifest["index"][name] = {"num_bytes": len(content), "sha256": digest}

    return with_manifest(place, change)


@CASES.add("train", "manifest.json", "damaged", "delete")
def manifest_cut_in_two(place):
    def spoil(directory):
        file = directory / "manifest.json"
        file.write_text(file.read_text()[:300])

    return trained(place, spoil)


@CASES.add("train", "manifest.json", "damaged", "delete")
def manifest_of_a_wrong_type(place):
    return with_manifest(place, lambda manifest, directory: [manifest])


@CASES.add("train", "manifest.json", "damaged", "delete")
def manifest_nested_to_the_limit(place):
    return trained(place, lambda directory: (directory / "manifest.json").write_text("[" * 100_000))


@CASES.add("train", "manifest.json", "damaged", "parts", "delete")
def manifest_without_parts(place):
    def change(manifest, directory):
        del manifest["parts"], directory

    return with_manifest(place, change)


@CASES.add("train", "manifest.json", "damaged", "token_counts is missing", "delete")
def manifest_without_an_index(place):
    def change(manifest, directory):
        del manifest["index"]["token_counts"], directory

    return with_manifest(place, change)


@CASES.add("train", "manifest.json", "damaged", "rate is -1", "delete")
def manifest_with_a_negative_rate(place):
    def change(manifest, directory):
        manifest["tasks"][0] |= {"rate": -1, "more": directory.name}

    return with_manifest(place, change)


@CASES.add("train", "manifest.json", "damaged", "vocabulary", "delete")
def manifest_with_text_for_a_vocabulary(place):
    def change(manifest, directory):
        manifest["vocabulary"] = "mine"

    return with_manifest(place, change)


@CASES.add("train", "manifest.json", "format_version=99", "delete")
def manifest_of_the_future(place):
    def change(manifest, directory):
        manifest["format_version"] = 99

    return with_manifest(place, change)


@CASES.add("train", "another vocabulary", "prepare it again")
def manifest_of_another_vocabulary(place):
    def change(manifest, directory):
        manifest["vocabulary"]["sha256"] = "0" * 64

    return with_manifest(place, change)


@CASES.add("train", "manifest.json", r"\.\./", "damaged|beside|outside")
def part_outside_of_the_store(place):
    def change(manifest, directory):
        name = manifest["parts"][0]["name"]
        (directory / name).rename(directory.parent / "elsewhere")
        manifest["parts"][0]["name"] = "../elsewhere"

    return with_manifest(place, change)


@CASES.add("train", "manifest.json", r"\.\./", "damaged|beside|outside")
def index_outside_of_the_store(place):
    def change(manifest, directory):
        shutil.copy(directory / "token_counts.npy", directory.parent / "elsewhere.npy")
        manifest["index"]["../elsewhere"] = manifest["index"]["token_counts"]

    return with_manifest(place, change)


@CASES.add("train", "manifest.json", "num_documents|documents", "damaged")
def manifest_with_more_documents(place):
    def change(manifest, directory):
        manifest["num_documents"] = 10**15

    return with_manifest(place, change)


@CASES.add("train", "manifest.json", "num_documents|documents", "damaged")
def part_with_more_documents(place):
    def change(manifest, directory):
        manifest["parts"][0]["num_documents"] += 5

    return with_manifest(place, change)


@CASES.add("train", "manifest.json", "num_documents|documents", "damaged")
def negative_number_of_documents(place):
    def change(manifest, directory):
        manifest["parts"][0]["num_documents"] = -1

    return with_manifest(place, change)


@CASES.add("train", r"split\.npy", "damaged", "labels of the manifest", "delete")
def labels_too_few(place):
    def change(manifest, directory):
        manifest["labels"]["split"] = ["train"]

    return with_manifest(place, change)


@CASES.add("train", "manifest.json", "damaged", "task")
def tasks_beyond_the_documents(place):
    def change(manifest, directory):
        manifest["tasks"][0]["num_documents"] = 999

    return with_manifest(place, change)


@CASES.add("train", r"tokens-00000\.array_record", "bytes", "delete")
def part_cut_in_two(place):
    def spoil(directory):
        (part,) = directory.glob("*.array_record")
        part.write_bytes(part.read_bytes()[:500])

    return trained(place, spoil)


@CASES.add("train", r"tokens-00000\.array_record", "missing", "delete")
def part_missing(place):
    return trained(place, lambda directory: next(directory.glob("*.array_record")).unlink())


@CASES.add("train", r"tokens-00000\.array_record", "damaged|SHA-256", "delete")
def part_of_other_bytes(place):
    def spoil(directory):
        (part,) = directory.glob("*.array_record")
        size = part.stat().st_size
        part.write_bytes(np.random.default_rng(0).bytes(size))

    return trained(place, spoil)


@CASES.add("train", r"tokens-00000\.array_record", "damaged|SHA-256", "delete")
def part_that_lost_its_middle(place):
    def spoil(directory):
        (part,) = directory.glob("*.array_record")
        content = bytearray(part.read_bytes())
        middle = len(content) // 2
        content[200:middle] = b"\0" * (middle - 200)
        part.write_bytes(bytes(content))

    return trained(place, spoil)


@CASES.add("train", r"token_counts\.npy", "SHA-256", "delete")
def index_of_other_bytes(place):
    def spoil(directory):
        file = directory / "token_counts.npy"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(bytes(content))

    return trained(place, spoil)


@CASES.add("train", r"split\.npy", "damaged|pickle|object", "delete")
def index_that_is_a_pickle(place):
    return with_index(place, "split", lambda array: array.astype(object))


@CASES.add("train", r"token_counts\.npy", "damaged|documents", "delete")
def index_of_another_length(place):
    return with_index(place, "token_counts", lambda array: array[:3])


@CASES.add("train", r"token_counts\.npy", "damaged|integers", "delete")
def index_of_another_type(place):
    return with_index(place, "token_counts", lambda array: array.astype(np.float64))


@CASES.add("train", r"token_counts\.npy", "damaged|negative", "delete")
def negative_token_counts(place):
    return with_index(place, "token_counts", lambda array: -array)


@CASES.add("train", "tokens|record", "damaged|say", "delete")
def token_counts_that_lie(place):
    return with_index(place, "token_counts", lambda array: array + 7)


@CASES.add("train", "vocabulary", "damaged|no SentencePiece|another vocabulary")
def vocabulary_exchanged(place):
    return trained(
        place, lambda directory: (directory / "vocabulary.model").write_bytes(b"something else")
    )


@CASES.add("train", "matches no token store", "presence_t5x.prepare")
def no_store(place):
    return trained(place, lambda directory: (directory / "manifest.json").unlink())


def filtered(place, spoil, *options):
    """The arguments of a filter over scores after `spoil(folder)`."""
    folder = place.valid.copy("scores", place.folder)
    spoil(folder)
    output = f"--output={place.output / 'kept'}"
    return [f"--scores={folder / 'scores.parquet'}", output, "--keep=5", *options]


def with_table(place, change, *options):
    """The same, with a table that went through `change(table)`."""

    def spoil(folder):
        path = folder / "scores.parquet"
        pq.write_table(change(pq.read_table(path)), path)

    return filtered(place, spoil, *options)


@CASES.add("filter", "scores.parquet", "no file", "presence_t5x.score")
def scores_absent(place):
    return filtered(place, lambda folder: (folder / "scores.parquet").unlink())


@CASES.add("filter", "scores.parquet", "Parquet|parquet", "presence_t5x.score|again")
def scores_cut_in_two(place):
    def spoil(folder):
        file = folder / "scores.parquet"
        file.write_bytes(file.read_bytes()[:200])

    return filtered(place, spoil)


@CASES.add("filter", "scores.parquet", "language", "presence_t5x.score|columns")
def scores_without_a_column(place):
    return with_table(place, lambda table: table.drop_columns(["language"]))


@CASES.add("filter", "scores.parquet", "score_encoder", "loss")
def column_that_is_not_there(place):
    return with_table(place, lambda table: table, "--column=score_encoder")


@CASES.add("filter", "keeps no document|no document has a score|NaN")
def nothing_but_nan(place):
    nan = pa.array([float("nan")] * 30)
    return with_table(place, lambda t: t.set_column(t.column_names.index("score"), "score", nan))


@CASES.add("filter", "scores.parquet", "number|type", "score")
def text_for_scores(place):
    text = pa.array(["high"] * 30)
    return with_table(place, lambda t: t.set_column(t.column_names.index("score"), "score", text))


@CASES.add("filter", "scores.parquet", "3", "30", "documents")
def scores_of_fewer_documents(place):
    return with_table(place, lambda table: table.slice(0, 3))


@CASES.add("filter", "manifest.json", "no manifest|beside")
def scores_without_a_manifest(place):
    return filtered(place, lambda folder: (folder / "scores.parquet.manifest.json").unlink())


@CASES.add("filter", "manifest.json", "damaged|JSON", "presence_t5x.score|again")
def scores_with_a_broken_manifest(place):
    return filtered(
        place, lambda folder: (folder / "scores.parquet.manifest.json").write_text('{"sto')
    )


@CASES.add("filter", "manifest.json", "damaged|store", "presence_t5x.score|again")
def scores_with_a_list_for_a_manifest(place):
    return filtered(
        place, lambda folder: (folder / "scores.parquet.manifest.json").write_text("[]")
    )


@CASES.add("filter", "other documents", "--input")
def scores_of_another_store(place):
    def spoil(folder):
        file = folder / "scores.parquet.manifest.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"content_sha256": "0" * 64}))

    return filtered(place, spoil)


@CASES.add("filter", "nowhere", "no token store")
def scores_of_a_store_that_is_gone(place):
    return filtered(place, lambda folder: None, f"--input={place.folder / 'nowhere'}")
