"""Memory of preparing a large corpus: `python -m presence_t5x.benchmark_memory [--gigabytes=2]`.

Writes a synthetic corpus of JSON lines (the embedded encyclopedia's documents over and over, with
ids of their own), runs `python -m presence_t5x.prepare` on it and prints the largest resident
memory of all its processes together in each tenth of the run: flat means that the size of the
corpus does not matter.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

_FILES = 8
_SENTENCES_PER_DOCUMENT = 8
_SAMPLE_SECONDS = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m presence_t5x.benchmark_memory")
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--num_processes", type=int, default=2)
    settings = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        num_documents = write_corpus(Path(folder, "corpus"), int(settings.gigabytes * 1e9))
        samples = sample_memory(_command(folder, settings.num_processes))
    peaks = [part.max() / 1e6 for part in np.array_split(np.array(samples), 10)]
    print(f"{num_documents:,} documents, {settings.gigabytes:g} GB, {len(samples)} samples")
    print("peak of each tenth, MB: " + " ".join(f"{peak:,.0f}" for peak in peaks))
    return 0


def write_corpus(folder: Path, num_bytes: int) -> int:
    """Writes JSON lines of about `num_bytes`; returns the number of documents."""
    from presence_t5x.data.encyclopedia.corpus import EncyclopediaConfig, generate_documents

    folder.mkdir()
    config = EncyclopediaConfig(num_train_documents=4000)
    texts = [document.text for document in generate_documents(config, split="train")]
    num_documents = 0
    for number in range(_FILES):
        written = 0
        with open(folder / f"{number}.jsonl", "w", encoding="utf-8") as file:
            while written < num_bytes // _FILES:
                start = num_documents * 37 % len(texts)
                text = "\n".join(texts[start : start + _SENTENCES_PER_DOCUMENT])
                line = json.dumps({"id": f"{num_documents}", "text": text}, ensure_ascii=False)
                written += len(line.encode()) + 1
                file.write(line + "\n")
                num_documents += 1
    return num_documents


def sample_memory(command: list[str]) -> list[int]:
    """Returns the resident bytes of a command and its children, twice a second until it ends."""
    process = psutil.Popen(command, stderr=subprocess.DEVNULL)
    samples = []
    while process.poll() is None:
        total = 0
        for member in [process, *_children(process)]:
            try:
                total += member.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        samples.append(total)
        time.sleep(_SAMPLE_SECONDS)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    return samples


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _command(folder: str, num_processes: int) -> list[str]:
    from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file

    return [
        sys.executable,
        "-m",
        "presence_t5x.prepare",
        f"--input={folder}/corpus",
        f"--vocabulary={vocabulary_file()}",
        f"--output={folder}/store",
        f"--num_processes={num_processes}",
    ]


if __name__ == "__main__":
    sys.exit(main())
