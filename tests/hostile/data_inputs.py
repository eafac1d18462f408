"""Corpora that hold no text, or hold it broken: refused as a whole, or by file and line."""

import gzip
import io
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from hostile.harness import Corpus

CASES = Corpus()
GOOD = b'{"text": "a good line"}\n'
_LINES = b"".join(
    json.dumps({"text": f"line {i} {os.urandom(12).hex()}"}).encode() + b"\n" for i in range(5000)
)


def prepared(place, name, content, *options, strict=True):
    """The arguments that make a store of one file of the input folder."""
    path = place.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return preparing(place, place.folder, *options, *(["--strict"] if strict else []))


def preparing(place, source, *options):
    """The arguments that make a store of whatever a pattern means."""
    return [
        f"--input={source}",
        "--vocabulary=bytes",
        "--num_processes=1",
        f"--output={place.output / 'store'}",
        *options,
    ]


def parquet(**columns):
    """The bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@CASES.add("prepare", r"a\.txt:1", "NUL|UTF-8", "iconv|convert")
def binary_text(place):
    return prepared(place, "a.txt", np.random.default_rng(0).bytes(5000))


@CASES.add("prepare", r"a\.jsonl:2", "UTF-8", "convert")
def binary_lines(place):
    return prepared(place, "a.jsonl", GOOD + b"\xff\xd8\xff\xe0" * 9)


@CASES.add("prepare", "no document", r"a\.jsonl:1", "NUL|UTF-8")
def nothing_but_binary(place):
    return prepared(place, "a.jsonl", b"\0\xff\n" * 50, strict=False)


@CASES.add("prepare", r"a\.jsonl\.gz:\d+", "cannot be read to its end", "copy it")
def truncated_gzip(place):
    content = gzip.compress(_LINES)
    return prepared(place, "a.jsonl.gz", content[: len(content) // 2])


@CASES.add("prepare", r"a\.jsonl\.zst:\d+", "cannot be read to its end", "copy it")
def truncated_zstandard(place):
    content = zstandard.compress(_LINES)
    return prepared(place, "a.jsonl.zst", content[: len(content) // 2])


@CASES.add("prepare", r"a\.txt\.gz", "no .gz data", "rename|copy")
def gzip_by_name_alone(place):
    return prepared(place, "a.txt.gz", b"plain text")


@CASES.add("prepare", r"a\.parquet", "cannot be read", "check the file")
def truncated_parquet(place):
    content = parquet(text=["a good row"] * 5000)
    return prepared(place, "a.parquet", content[: len(content) // 2])


@CASES.add("prepare", r"a\.parquet", "cannot be read")
def parquet_with_a_damaged_middle(place):
    content = bytearray(parquet(text=[os.urandom(30).hex() for _ in range(5000)]))
    content[1000:9000] = b"\x55" * 8000
    return prepared(place, "a.parquet", bytes(content))


@CASES.add("prepare", r"a\.parquet", "no field 'text'", "'body'", "add it or rename")
def wrong_columns(place):
    return prepared(place, "a.parquet", parquet(body=["a"], id=[1]))


@CASES.add("prepare", r"a\.parquet", "'text' is of type int64", "convert")
def column_of_numbers(place):
    return prepared(place, "a.parquet", parquet(text=[1, 2]))


@CASES.add("prepare", r"a\.jsonl:2", "half a surrogate pair", "repair")
def lone_surrogate(place):
    return prepared(place, "a.jsonl", GOOD + rb'{"text": "\ud800 lost"}')


@CASES.add("prepare", r"a\.jsonl:1", "50000012 bytes", "max_document_bytes")
def line_of_50_megabytes(place):
    return prepared(place, "a.jsonl", b'{"text": "' + b"x" * 50_000_000 + b'"}\n' + GOOD)


@CASES.add("prepare", r"a\.jsonl\.gz:1", "max_document_bytes")
def line_that_unpacks_to_200_megabytes(place):
    packed = gzip.compress(b"x" * 200_000_000, compresslevel=1)
    return prepared(place, "a.jsonl.gz", packed)


@CASES.add("prepare", r"a\.jsonl:2", "non-empty string", "repair")
def empty_document(place):
    return prepared(place, "a.jsonl", GOOD + b'{"text": ""}\n')


@CASES.add("prepare", "no document", r"a\.txt")
def nothing_but_blank_lines(place):
    return prepared(place, "a.txt", b"\n \n" * 99, strict=False)


@CASES.add("prepare", r"a\.jsonl", "no document", "add text")
def empty_file(place):
    return prepared(place, "a.jsonl", b"")


@CASES.add("prepare", r"a\.txt:3", "NUL", "convert")
def nul_bytes(place):
    return prepared(place, "a.txt", b"one\n\nt\0o\n")


@CASES.add("prepare", r"a\.jsonl:1", "text=5", "string")
def number_for_text(place):
    return prepared(place, "a.jsonl", b'{"text": 5}\n' + GOOD)


@CASES.add("prepare", r"a\.json:1", "list", "one JSON object a line")
def one_array_of_all(place):
    return prepared(place, "a.json", b"[" + GOOD.strip() + b"]")


@CASES.add("prepare", r"a\.jsonl:2", "lang=", "string")
def object_for_a_language(place):
    return prepared(place, "a.jsonl", GOOD + b'{"text": "a", "lang": {"a": [1]}}\n')


@CASES.add("prepare", r"a\.jsonl:2", "id", "65535")
def id_of_70000_bytes(place):
    row = json.dumps({"text": "a", "id": "i" * 70_000}).encode()
    return prepared(place, "a.jsonl", GOOD + row + b"\n")


@CASES.add("prepare", r"a\.jsonl:1", "broken JSON", "one object a line")
def deeply_nested_json(place):
    return prepared(place, "a.jsonl", b'{"text": ' + b"[" * 200_000 + b"\n" + GOOD)


@CASES.add("prepare", r"a\.jsonl:1", "broken JSON")
def number_of_5000_digits(place):
    return prepared(place, "a.jsonl", b'{"text": "a", "id": ' + b"9" * 5000 + b"}\n")


@CASES.add("prepare", "UTF-16", "iconv")
def utf_16(place):
    return prepared(place, "a.txt", "one\n\ntwo".encode("utf-16"))


@CASES.add("prepare", r"a\.csv", "unknown kind", "rename")
def other_kinds_of_file(place):
    return prepared(place, "a.csv", b"a,b\n")


@CASES.add("prepare", "matches no file", "glob")
def nothing_there(place):
    return preparing(place, place.folder / "*.jsonl")


@CASES.add("prepare", r"\.\.", "climbs out|outside")
def glob_that_climbs_out_of_its_folder(place):
    (place.folder / "corpus" / "en").mkdir(parents=True)
    (place.folder / "secret.txt").write_text("not part of the corpus")
    return preparing(place, f"{place.folder}/corpus/*/../../*.txt")


@CASES.add("prepare", r"a\.txt", "cannot be read|no regular file")
def link_to_nowhere(place):
    (place.folder / "a.txt").symlink_to(place.folder / "nowhere")
    return preparing(place, place.folder, "--strict")


@CASES.add("prepare", r"a\.txt", "device|no regular file", "remove")
def link_to_an_endless_device(place):
    (place.folder / "a.txt").symlink_to("/dev/zero")
    return preparing(place, place.folder, "--strict")


@CASES.add("prepare", r"a\.jsonl", "pipe|no regular file", "remove")
def pipe_that_nobody_writes_to(place):
    os.mkfifo(place.folder / "a.jsonl")
    return preparing(place, place.folder, "--strict")


@CASES.add("prepare", r"b.*\.txt", "NUL|UTF-8")
def file_name_that_writes_to_the_terminal(place):
    return prepared(place, "b\n\x1b[31merror: all is well\x1b]0;\x07.txt", b"\0\xff")


@CASES.add("prepare", "taken", "no token store", "choose another")
def output_that_is_a_file(place):
    arguments = prepared(place, "a.jsonl", GOOD)
    (place.folder / "taken").write_text("here already")
    return [*arguments, f"--output={place.folder / 'taken'}"]


@CASES.add("prepare", "taken", "File exists|Not a directory")
def output_below_a_file(place):
    arguments = prepared(place, "a.jsonl", GOOD)
    (place.folder / "taken").write_text("here already")
    return [*arguments, f"--output={place.folder / 'taken' / 'store'}"]


@CASES.add("train", r"a\.jsonl:2", "UTF-8")
def training_on_a_broken_line(place):
    (place.folder / "a.jsonl").write_bytes(GOOD + b"\xff\n")
    return training(place)


@CASES.add("train", r"a\.jsonl\.gz", "read to its end", "copy")
def training_on_a_truncated_file(place):
    content = gzip.compress(_LINES)
    (place.folder / "a.jsonl.gz").write_bytes(content[: len(content) // 2])
    return training(place)


def training(place, **changes):
    """The arguments of a run on the files of the input folder."""
    values = {
        "MODEL_DIR": str(place.output / "run"),
        "LOCAL_TEXT_FILES": str(place.folder),
        "VOCABULARY_FILE": "bytes",
        "TRAIN_STEPS": 1,  # or what is not refused would train
        **changes,
    }
    file = "--gin_file=configs/runs/pretrain_local.gin"
    return [file, *(f"--gin.{name}={value!r}" for name, value in values.items())]


def examples(place, lines, *options):
    """The arguments that make a store of labelled examples."""
    (place.folder / "train.en.jsonl").write_bytes(lines)
    return [
        "--input=local_nli_zeroshot",
        f"--task_files={place.folder}/*.jsonl{''.join(options)}",
        "--vocabulary=bytes",
        "--num_processes=1",
        "--strict",
        f"--output={place.output / 'store'}",
    ]


@CASES.add("prepare", r"train\.en\.jsonl:1", "premise")
def examples_of_wrong_types(place):
    return examples(place, b'{"premise": 5, "hypothesis": [], "label": 0}\n')


@CASES.add("prepare", r"train\.en\.jsonl:1", "no label|label")
def example_with_an_unknown_label(place):
    return examples(place, b'{"premise": "a", "hypothesis": "b", "label": "perhaps"}\n')


@CASES.add("prepare", r"\[90%:10%\]", "FROM < TO")
def share_that_is_empty(place):
    return examples(place, GOOD, "[90%:10%]")
