"""Whatever bytes a parser is given, it returns a value or raises ValueError of one line."""

import json
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from presence_t5x.command_line import one_line, parse_task_files
from presence_t5x.config import parse_arguments
from presence_t5x.convert.huggingface_config import read_config
from presence_t5x.convert.huggingface_files import read_huggingface
from presence_t5x.convert.t5x_files import read_t5x
from presence_t5x.data.finetuning.file_names import parse_share
from presence_t5x.data.manifests import check_manifest
from presence_t5x.data.text_files.formats import FileRules, read_json_lines, read_paragraphs
from presence_t5x.data.text_files.lines import (
    ReadingStoppedError,
    decompress_blocks,
    numbered_lines,
)
from presence_t5x.data.token_records import decode_record
from presence_t5x.data.token_store import LABEL_NAMES
from presence_t5x.diagnosis.environment import parse_constraints
from presence_t5x.gin_files import check_gin_text
from presence_t5x.json_files import parse_json
from presence_t5x.planning.hlo_text import parse_module
from presence_t5x.reporting.run_files import read_run
from presence_t5x.reproduction.plan_files import load_plan

MANY = settings(
    max_examples=60,
    deadline=5000,  # ms: no hang
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
FEW = settings(MANY, max_examples=20)
# Bytes that look like what parsers look for, more often than chance has them.
PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b"\n", b":", b",", b"\\", b"\\ud800", b"\0", b"\xff", b"1e999",
     b"9" * 5000, b"[" * 3000, b'{"text": "a"}\n', b"null", b"text", b"=", b"%", b"@", b"include "]
)  # fmt: skip
BYTES = st.lists(PIECES | st.binary(max_size=20), max_size=30).map(b"".join)
TEXT = BYTES.map(lambda content: content.decode("utf-8", "surrogateescape"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def refused(fun, *arguments):
    """Calls a parser; returns what it gave, or the line with which it refused."""
    try:
        return fun(*arguments)
    except ValueError as error:
        line = one_line(error)
        assert line and line.isprintable()
        return line


@MANY
@given(TEXT)
def test_json(text):
    refused(parse_json, text)


@MANY
@given(TEXT)
@example('include "a.gin"')
@example("  a = 1")
@example("'''")
def test_gin_text(text):
    refused(check_gin_text, text, "x.gin")


@MANY
@given(st.lists(TEXT, max_size=4))
def test_command_lines(words):
    assert sum(map(len, parse_arguments(words))) == len(words)
    refused(parse_task_files, words)


@MANY
@given(TEXT | st.from_regex(r"a\[\d{0,4}%?:\d{0,4}%?\]"))
def test_shares_of_globs(pattern):
    found = refused(parse_share, pattern)
    if not isinstance(found, str):
        glob, share = found
        assert pattern.startswith(glob) and 0 <= share.start < share.stop <= 1


@MANY
@given(TEXT)
def test_constraints(text):
    refused(parse_constraints, text)


@MANY
@given(
    BYTES, st.sampled_from(["", ".gz", ".zst"]), st.sampled_from([read_json_lines, read_paragraphs])
)
def test_lines_of_files(content, compression, read):
    """Every line is a document, a problem or blank; what ends a file says so in words."""
    problems = []
    blocks = [content[:7], content[7:]]
    try:
        lines = numbered_lines(decompress_blocks(blocks, compression), 1, 4000)
        documents = list(read(lines, FileRules(file="a"), problems.append))
    except ReadingStoppedError as stop:
        assert stop.message and stop.kind in ("unreadable", "truncated", "encoding")
        return
    assert all(found.document.text.strip() for found in documents)
    assert all(problem.line and one_line(ValueError(str(problem))) for problem in problems)
    for found in documents:
        "".join(found.document).encode()  # what is kept can be stored


@MANY
@given(
    st.binary(max_size=80)
    | st.builds(lambda *n: struct.pack("<IHHHH", *n) + b"ab" * 9, *[st.integers(0, 9)] * 5)
)
def test_token_records(record):
    refused(decode_record, record)


GOOD_MANIFEST = {
    "num_documents": 3,
    "num_tokens": 9,
    "content_sha256": "0",
    "vocabulary": {"sha256": "0"},
    "parameters": {},
    "labels": {name: ["a"] for name in LABEL_NAMES},
    "problems": {},
    "tasks": [{"name": "t", "rate": 1.0, "first_document": 0, "num_documents": 3}],
    "parts": [{"name": "p", "num_documents": 3, "num_bytes": 5, "sha256": "0"}],
    "index": {name: {"num_bytes": 5, "sha256": "0"} for name in ("token_counts", *LABEL_NAMES)},
}


@MANY
@given(st.sampled_from(sorted(GOOD_MANIFEST)), JSON)
def test_manifests(key, value):
    refused(check_manifest, {**GOOD_MANIFEST, key: value}, Path("manifest.json"), LABEL_NAMES)


def test_the_good_manifest_is_good():
    check_manifest(GOOD_MANIFEST, Path("manifest.json"), LABEL_NAMES)


@MANY
@given(
    st.dictionaries(
        st.sampled_from(
            ["model_type", "d_model", "num_layers", "feed_forward_proj", "num_decoder_layers",
             "tie_word_embeddings", "transformers_version", "scale_decoder_outputs"]
        ),
        JSON | st.sampled_from(["t5", "mt5", "umt5", "relu"]),
    )
)  # fmt: skip
def test_settings_of_hugging_face(values):
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_heads": 2, "num_layers": 1, "vocab_size": 9}
    refused(read_config, {"model_type": "t5", **sizes, **values}, True)


@FEW
@given(TEXT | st.dictionaries(st.text(max_size=5), JSON).map(lambda d: f"title = {json.dumps(d)}"))
def test_plans(text):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.toml"
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        refused(load_plan, str(file))


def _header(values):
    content = json.dumps(values).encode()
    return struct.pack("<Q", len(content)) + content + b"\0" * 16


SAFETENSORS = st.binary(max_size=60) | st.builds(
    lambda length, rest: struct.pack("<Q", length) + rest, st.integers(0, 2**64 - 1), BYTES
) | st.dictionaries(
    st.sampled_from(["shared.weight", "__metadata__"]),
    JSON
    | st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "I64", "BF16", "Q8", 5]),
            "shape": st.lists(st.integers(-1, 2**63), max_size=3),
            "data_offsets": st.lists(st.integers(-1, 99), min_size=1, max_size=3),
        }
    ),
).map(_header)  # fmt: skip


@FEW
@given(SAFETENSORS)
def test_headers_of_safetensors(content):
    config = {"model_type": "t5", "d_model": 2, "d_kv": 1, "d_ff": 2, "num_heads": 1}
    config |= {"num_layers": 1, "vocab_size": 2}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        (Path(folder) / "model.safetensors").write_bytes(content)
        assert isinstance(refused(read_huggingface, Path(folder)), str)


@FEW
@given(BYTES | st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()))
def test_indices_of_t5x(content):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "checkpoint").write_bytes(content)
        assert isinstance(refused(read_t5x, Path(folder)), str)
        assert [path.name for path in Path(folder).iterdir()] == ["checkpoint"]


@FEW
@given(BYTES | JSON.map(lambda value: json.dumps({"step": 1, "rows": value}).encode()))
def test_logs_of_runs(content):
    with tempfile.TemporaryDirectory() as folder:
        for name in ("metrics", "timing", "evaluation"):
            (Path(folder) / f"{name}.jsonl").write_bytes(content)
        (Path(folder) / "config.json").write_text("{}")
        refused(read_run, folder)


PROGRAM = """
ENTRY %main (x: f32[2,3]) -> f32[2,3] {
  %x = f32[2,3]{1,0} parameter(0)
  ROOT %y = (f32[2,3]{1,0}, s32[]) add(%x, %x), metadata={op_name="y"}
}"""


@MANY
@given(
    st.integers(0, len(PROGRAM)),
    st.integers(0, 40),
    st.sampled_from(["", "(", "}", "\n", "%a = ", '"', "99", "{", "\0"]),
)
def test_text_of_programs(start, length, new):
    refused(parse_module, PROGRAM[:start] + new + PROGRAM[start + length :])


def test_the_check_can_fail():
    def raise_key_error():
        raise KeyError("a")

    def say_nothing():
        raise ValueError(" ")

    with pytest.raises(KeyError):
        refused(raise_key_error)
    assert refused(say_nothing) == "ValueError"
