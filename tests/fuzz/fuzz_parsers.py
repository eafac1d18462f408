"""Fuzzes the parsers with atheris (pip install atheris), guided by what of the code is reached.

    python tests/fuzz/fuzz_parsers.py TARGET [-max_total_time=60] [CORPUS_DIR]

TARGET is one of those in `TARGETS`; the other arguments are libFuzzer's. It ends with a traceback,
and leaves a file crash-..., at the first input that gives anything but a value or ValueError.
`tests/test_fuzz.py` runs each for a moment where atheris is installed.
"""

import json
import sys
import tempfile
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["presence_t5x", "gin"]):
    from presence_t5x.convert.huggingface_config import read_config
    from presence_t5x.data.finetuning.file_names import parse_share
    from presence_t5x.data.manifests import check_manifest
    from presence_t5x.data.text_files.formats import FileRules, read_json_lines
    from presence_t5x.data.text_files.lines import (
        ReadingStoppedError,
        decompress_blocks,
        numbered_lines,
    )
    from presence_t5x.data.token_records import TokenizedDocument, decode_record, encode_record
    from presence_t5x.data.token_store import LABEL_NAMES
    from presence_t5x.gin_files import check_gin_text
    from presence_t5x.json_files import parse_json
    from presence_t5x.planning.hlo_text import parse_module
    from presence_t5x.reproduction.plan_files import load_plan


def _text(content):
    return content.decode("utf-8", "surrogateescape")


def _object(content):
    value = parse_json(content)
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _lines(content):
    compression = {0: "", 1: ".gz", 2: ".zst"}[content[0] % 3] if content else ""
    try:
        lines = numbered_lines(decompress_blocks([content[1:]], compression), 1, 1000)
        list(read_json_lines(lines, FileRules(file="a"), lambda problem: None))
    except ReadingStoppedError as stop:
        raise ValueError(stop.message) from stop


def _plan(content):
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(content)
        file.flush()
        load_plan(file.name)


TARGETS = {
    "gin": lambda content: check_gin_text(_text(content), "x.gin"),
    "hlo": lambda content: parse_module(_text(content)),
    "huggingface_config": lambda content: read_config(_object(content), True),
    "json": parse_json,
    "lines": _lines,
    "manifest": lambda content: check_manifest(
        _object(content), Path("manifest.json"), LABEL_NAMES
    ),
    "plan": _plan,
    "record": decode_record,
    "share": lambda content: parse_share(_text(content)),
}
# Good inputs, from which the fuzzer starts.
SEEDS = {
    "gin": b'include "a.gin"\nTAU_POINTS = ((0, 1.0), (5, -1.0))\nT5Config.dtype = %DTYPE\n',
    "hlo": b"ENTRY %main (x: f32[2,3]) -> f32[2,3] {\n  %x = f32[2,3]{1,0} parameter(0)\n"
    b'  ROOT %y = (f32[2,3]{1,0}, s32[]) add(%x, %x), metadata={op_name="y"}\n}',
    "huggingface_config": b'{"model_type": "mt5", "d_model": 8, "d_kv": 4, "d_ff": 8, "num_heads": '
    b'2, "num_layers": 1, "vocab_size": 9, "feed_forward_proj": "gated-gelu"}',
    "json": b'{"a": [1, 2.5e3, "\\ud83d\\ude00", null, true]}',
    "lines": b'\0{"text": "a", "id": 5, "lang": "sw"}\n\n{"text": "b", "source": "x"}\n',
    "manifest": json.dumps(
        {
            "num_documents": 3,
            "num_tokens": 9,
            "content_sha256": "0",
            "vocabulary": {"sha256": "0"},
            "parameters": {},
            "labels": {name: ["a"] for name in LABEL_NAMES},
            "problems": {},
            "tasks": [{"name": "t", "rate": 1.0, "first_document": 0, "num_documents": 3}],
            "parts": [{"name": "p", "num_documents": 3, "num_bytes": 5, "sha256": "0"}],
            "index": {
                name: {"num_bytes": 5, "sha256": "0"} for name in ("token_counts", *LABEL_NAMES)
            },
        }
    ).encode(),
    "plan": b'title = "A"\nseeds = 2\n[tasks.nli]\ntitle = "NLI"\nfamily = "f"\nmetric = "f1"\n'
    b'[[pretrainings]]\nname = "b"\nmodel = "tiny"\nvariant = "v"\ngin_files = ["a.gin"]\n'
    b'[[finetunings]]\nname = "en"\nsetting = "zero_shot"\ngin_files = ["a.gin"]\n'
    b'evaluations = [{ mixture = "m", tasks = ["nli"] }]\n'
    b'[[tables]]\nname = "one"\ntitle = "One"\nrows = ["b"]\ntasks = ["nli"]\n',
    "record": encode_record(TokenizedDocument(np.array([5, 6], np.int32), "a:1", "sw")),
    "share": b"a/*.jsonl[20%:80%]",
}


def _make_test(name):
    target = TARGETS[name]

    def test_one_input(content):
        try:
            target(content)
        except ValueError as error:
            json.dumps(str(error))  # it can be said

    return test_one_input


def main():
    """Runs libFuzzer on the target that the first argument names."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        raise SystemExit(f"usage: python {sys.argv[0]} TARGET ...; TARGET is one of {[*TARGETS]}")
    name = sys.argv.pop(1)
    seeds = Path(tempfile.mkdtemp(prefix="seeds-"))
    (seeds / name).write_bytes(SEEDS[name])
    sys.argv.append(str(seeds))
    atheris.Setup(sys.argv, _make_test(name))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
