"""Tables fit 100 columns and plots are SVG files that stand alone; figures are made up here."""

import io
import xml.etree.ElementTree as ElementTree

import pytest
from rich.console import Console

from presence_t5x.benchmarking import figures, tables
from presence_t5x.benchmarking.comparison import Comparison, Measurement
from presence_t5x.benchmarking.peers import PEERS, Absent
from presence_t5x.benchmarking.sweep import Cell, Sweep, parse_grid
from presence_t5x.benchmarking.variants import UNWEIGHTED, VARIANTS

SVG = "{http://www.w3.org/2000/svg}"
PIXEL = 0.02
ABSENT = Absent("t5x", "T5X trainer", "No module named [t5x]", "git clone <it>")


@pytest.fixture
def comparison(config):
    names = [*VARIANTS, "hf", "vmap", "jax_privacy"]
    seconds = {name: 1.0 + 0.25 * place for place, name in enumerate(names)}

    def row(name):
        kind, peer = (VARIANTS | PEERS)[name].kind, name in PEERS
        baseline = UNWEIGHTED if peer else VARIANTS[name].baseline
        return Measurement(
            name=name,
            title=(VARIANTS | PEERS)[name].title,
            kind=kind,
            is_peer=peer,
            description="<what it does>",
            seconds_per_step=seconds[name],
            seconds_quartiles=(0.9 * seconds[name], 1.2 * seconds[name]),
            tokens_per_second=12_000 / seconds[name],
            baseline=baseline,
            over_baseline=seconds[name] / seconds[baseline],
            speed_over_peers={
                other: seconds[other] / seconds[name]
                for other in ("hf", "vmap", "jax_privacy")
                if PEERS[other].kind == kind
            },
            temp_bytes=None if name == "hf" else 3000 * 2**20,
            compile_seconds=1.0,
        )

    rows = [row(name) for name in names]
    return Comparison(
        config=config, blocks=3, steps_per_block=2, measurements=rows, absent=[ABSENT]
    )


@pytest.fixture
def sweep(config):
    cells = [
        Cell(
            batch_size=rows,
            num_microbatches=number,
            seconds_per_step={UNWEIGHTED: 0.5, "stored": 0.5 + number / 8},
            temp_bytes={UNWEIGHTED: 2**20, "stored": None if number == 4 else 2**21},
            time_ratio={"stored": 1 + number / 4},
            memory_ratio={"stored": None if number == 4 else 2.0},
        )
        for rows, number in parse_grid("2,4x1,2,4")
    ]
    return Sweep(config=config, variants=["stored"], blocks=1, steps_per_block=1, cells=cells)


def printed(print_table, result):
    console = Console(width=100, file=io.StringIO())
    print_table(result, console)
    return console.file.getvalue()


def test_the_table_of_steps(comparison):
    text = printed(tables.print_comparison, comparison)
    assert max(map(len, text.splitlines())) <= 100
    line = next(line for line in text.splitlines() if "microbatch, stored, batch" in line)
    assert line.split()[-6:] == ["1.2500", "15.0%", "9,600", "1.250", "2.60", "3,000.0"]
    assert "Hugging Face mT5, PyTorch" in text
    assert "–" in next(line for line in text.splitlines() if "Hugging" in line)
    assert "example, batch, 1 microbatch" in text
    words = " ".join(text.split())
    assert "the unweighted step, or 'unweighted, 1 microbatch'" in words
    assert "not installed: T5X trainer (No module named [t5x]): git clone <it>" in words


def test_the_table_of_a_sweep(sweep):
    text = printed(tables.print_sweep, sweep)
    assert max(map(len, text.splitlines())) <= 100
    lines = [line.split() for line in text.splitlines()]
    assert ["2", "2", "0.5000", "1.0", "1.500", "2.000"] in lines
    assert ["4", "4", "0.5000", "1.0", "2.000", "–"] in lines


def test_bars_are_as_long_as_speeds(comparison):
    root = ElementTree.fromstring(figures.comparison_figure(comparison))
    assert root.tag == f"{SVG}svg"
    groups = {
        group.find(f"{SVG}text").text: float(group.find(f"{SVG}rect").get("width"))
        for group in root.iter(f"{SVG}g")
        if group.find(f"{SVG}rect") is not None
    }
    by_name = {row.name: row for row in comparison.measurements}
    assert set(groups) == {row.title for row in comparison.measurements}
    for first, second in (("unweighted", "stored"), ("streaming", "hf"), ("scoring", "vmap")):
        first, second = by_name[first], by_name[second]
        assert groups[first.title] / groups[second.title] == pytest.approx(
            first.tokens_per_second / second.tokens_per_second, rel=PIXEL / 50
        )
    assert "var(--" in ElementTree.tostring(root, encoding="unicode")
    assert "--presence:" in root.find(f"{SVG}style").text


def test_a_heat_map_shows_every_cell_and_leaves_out_what_is_not_known(sweep):
    root = ElementTree.fromstring(figures.sweep_figure(sweep))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert [text for text in texts if text in ("1.25", "1.50", "2.00")].count("1.25") == 2
    assert texts.count("2.00") == 1 + 4  # one time (4 rows, 4 microbatches), four of memory
    cells = [rect for rect in root.iter(f"{SVG}rect") if "fill-opacity" in rect.get("style")]
    assert len(cells) == 5 + 4
