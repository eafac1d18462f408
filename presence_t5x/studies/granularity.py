"""How much signal survives grouping: `python -m presence_t5x.study granularity`.

Units of 1, 2, 4, ... documents are scored as training scores them: by the gradient of all their
tokens together. In a corpus with a known share of noise they are put together at random, by
language, or clean and noisy text apart; then a unit's score is compared with its members' own, with
the share of noise in it, and with what weights would make of it.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from presence_t5x._validate import check_int
from presence_t5x.files import write_text_atomically
from presence_t5x.scoring.corpus import Corpus, open_input
from presence_t5x.scoring.settings import Request, resolve
from presence_t5x.studies.agreement import spearman
from presence_t5x.studies.grouping import GROUPINGS, NoisyCorpus, group_corpus, mix_noise
from presence_t5x.studies.noise import parse_rates
from presence_t5x.studies.results import Chart, Column, Study, Table
from presence_t5x.studies.texts import (
    Scored,
    add_noise_options,
    add_text_options,
    claim_texts,
    find_checkpoints,
    protocol_of,
)
from presence_t5x.studies.unit_scoring import UnitScorer, UnitScores, first_rows
from presence_t5x.studies.unit_statistics import unit_statistics

HELP = "how much signal survives grouping documents to units"
SCORE, LOSS, MEAN = "score", "loss", "mean of its documents' scores"
_OF_UNITS = ("sizes", "rates", "repeats", "units_per_step")
_Key = tuple[float, str, int]  # rate, grouping, size
_COLUMNS = (
    Column("step", "step"),
    Column("rate", "share of noise"),
    Column("grouping", "grouped", "label"),
    Column("unit_size", "documents a unit"),
    Column("measure", "a unit's", "label"),
    Column("num_units", "units"),
    Column("spearman_members", "rank correlation with the mean of its documents' scores"),
    Column("spearman_noise", "rank correlation with its share of noise"),
    Column("auroc_any", "AUROC of units with noise"),
    Column("auroc_above", "AUROC of units with more noise than average"),
    Column("mean", "mean"),
    Column("spread", "standard deviation over mean"),
    Column("ess_direct", "effective share of units, temperature 1"),
    Column("ess_inverse", "effective share of units, temperature -1"),
    Column("noise_weight", "weight on noise over its share, temperature -1"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the study's options."""
    add_text_options(parser, documents=50)
    add_noise_options(parser, ("permuted_words",))
    add = parser.add_argument
    add("--rates", default="0.1,0.3", metavar="X,...", help="shares of noise (default: 0.1,0.3)")
    add("--sizes", default="1,2,4,8,16", metavar="N,...", help="of units (default: 1,2,4,8,16)")
    add("--repeats", type=int, default=2, help="times that documents are grouped (default: 2)")
    add("--units_per_step", type=int, default=8, help="that share weights (default: 8)")
    add("--layers", metavar="PATTERN,...", help="as for presence_t5x.score")


def run(options: argparse.Namespace) -> Study:
    """Groups, scores and compares.

    Raises:
      ValueError: a wrong setting, or a directory of another study.
    """
    rates = parse_rates(options.rates)
    _parse_sizes(options.sizes)
    check_int("--repeats", options.repeats, minimum=1)
    check_int("--units_per_step", options.units_per_step, minimum=2)
    paths = find_checkpoints(options.checkpoint)
    layers = options.layers.split(",") if options.layers else None
    requests = [Request(checkpoints=[path], layers=layers, seed=options.seed) for path in paths]
    found = [resolve(request, *options.gin) for request in requests]
    # All score the rows that the first one's settings make, so that all must be alike.
    any_rates = [1.0] * len(paths)
    resolve(Request(checkpoints=paths, layers=layers, learning_rates=any_rates), *options.gin)
    texts = claim_texts(options, *_OF_UNITS)
    directory = texts.parent
    store = open_input(str(texts), found[0].vocabulary, directory / "tokens", splits=["train"])
    rows = first_rows(
        Corpus(store, found[0].data, found[0].vocabulary, options.seed), options.batch_size
    )
    ids = [store[place].id for place in range(len(store))]
    languages = [store[place].language for place in range(len(store))]
    corpora = {rate: mix_noise(ids, languages, rows.has_row, rate, options.seed) for rate in rates}
    members = _members(corpora, options)
    _write_members(directory / "members.json", members, corpora, ids)
    results, scored = [], []
    for number, (request, settings) in enumerate(zip(requests, found)):
        kept = directory / f"units-{number}"
        scorer = UnitScorer(request, settings, rows, kept, options.batch_size)
        scored.append(Scored(scorer.step, [], scorer.protocol))
        results += _rows(scorer, corpora, members, options.units_per_step)
    protocol = {
        **protocol_of(options, scored),
        **{name: getattr(options, name) for name in _OF_UNITS},
        "documents": f"{options.documents} of each language, each by its first row",
    }
    return _study(results, protocol)


def _members(corpora: Mapping[float, NoisyCorpus], options: argparse.Namespace) -> dict[_Key, Any]:
    """Returns the units of every rate, grouping and size that leaves two of them."""
    found = {
        (rate, grouping, size): group_corpus(
            corpus, grouping, size, repeats=options.repeats, seed=options.seed
        )
        for rate, corpus in corpora.items()
        for grouping in GROUPINGS
        for size in _parse_sizes(options.sizes)
    }
    found = {key: members for key, members in found.items() if len(members) > 1}
    if not found:
        raise ValueError(
            f"--sizes={options.sizes}: no size leaves two units; take smaller ones, or more "
            "--documents"
        )
    return found


def _write_members(
    path: Path, members: Mapping[_Key, Any], corpora: Mapping[float, NoisyCorpus], ids: list[str]
) -> None:
    """Writes which texts a corpus has, and which form each unit: by rate, grouping and size."""
    content: dict[str, Any] = {
        f"{rate:g}": {"documents": [ids[place] for place in corpus.places]}
        for rate, corpus in corpora.items()
    }
    for (rate, grouping, size), units in members.items():
        named = [[ids[place] for place in corpora[rate].places[unit]] for unit in units]
        content[f"{rate:g}"].setdefault(grouping, {})[str(size)] = named
    write_text_atomically(json.dumps(content, ensure_ascii=False) + "\n", path)


def _rows(
    scorer: UnitScorer,
    corpora: Mapping[float, NoisyCorpus],
    members: Mapping[_Key, Any],
    units_per_step: int,
) -> list[dict[str, Any]]:
    """All rows of one checkpoint."""
    single = {
        rate: scorer(f"rate{rate:g}-documents", corpus.places[:, None])
        for rate, corpus in corpora.items()
    }
    results = []
    for (rate, grouping, size), units in members.items():
        corpus = corpora[rate]
        if size == 1:
            found = UnitScores(*(values[units[:, 0]] for values in single[rate]))
        else:
            found = scorer(f"rate{rate:g}-{grouping}-{size}", corpus.places[units])
        share = corpus.is_noise[units].mean(axis=1)
        means = single[rate].score[units].mean(axis=1)
        for measure, values in ((SCORE, found.score), (LOSS, found.loss), (MEAN, means)):
            results.append(
                {
                    "step": scorer.step,
                    "rate": rate,
                    "grouping": grouping,
                    "unit_size": size,
                    "measure": measure,
                    "num_units": len(units),
                    "spearman_members": spearman(values, means),
                    **unit_statistics(values, share, units_per_step),
                }
            )
    return results


def _parse_sizes(text: str) -> list[int]:
    try:
        sizes = [int(size) for size in text.split(",")]
    except ValueError as error:
        raise ValueError(f"--sizes={text}: {error}") from error
    for size in sizes:
        check_int("--sizes", size, minimum=1)
    return sizes


def _study(rows: Sequence[Mapping[str, Any]], protocol: Mapping[str, Any]) -> Study:
    last = rows[-1]["step"]
    rates = list(dict.fromkeys(row["rate"] for row in rows))
    charts = []
    for rate in rates:
        where = {"step": last, "rate": rate, "measure": SCORE}
        for column, title in (
            ("auroc_above", "units with more noise than average above the others"),
            ("spearman_members", "agreement with the mean of the documents' scores"),
            ("noise_weight", "weight on noise over its share, temperature -1"),
            ("ess_inverse", "effective share of units, temperature -1"),
        ):
            charts.append(
                Chart(
                    title=f"{rate:.0%} noise: {title}",
                    x="unit_size",
                    y=column,
                    series="grouping",
                    where=where,
                    x_log=True,
                )
            )
        charts.append(
            Chart(
                title=f"{rate:.0%} noise, grouped at random: score against loss",
                x="unit_size",
                y="auroc_above",
                series="measure",
                where={"step": last, "rate": rate, "grouping": "random"},
                x_log=True,
            )
        )
    shown = [column.name for column in _COLUMNS if column.name not in ("step", "rate", "measure")]
    tables = [
        Table(
            title=f"A unit's {measure}, {rate:.0%} noise, step {last}",
            where={"step": last, "rate": rate, "measure": measure},
            columns=shown,
        )
        for rate in rates
        for measure in (SCORE, LOSS)
    ]
    return Study(
        study="granularity",
        title="Granularity: what a score of several documents tells",
        columns=_COLUMNS,
        rows=rows,
        protocol=protocol,
        charts=charts,
        tables=tables,
        findings=_findings(rows, last, rates),
    )


def _findings(rows, last: int, rates: Sequence[float]) -> list[str]:
    """What grouping at random leaves, and grouping noise apart."""
    lines = []
    for rate in rates:
        found = {
            (row["grouping"], row["unit_size"]): row
            for row in rows
            if (row["step"], row["rate"], row["measure"]) == (last, rate, SCORE)
        }
        sizes = [size for grouping, size in found if grouping == "random"]
        low, high = found["random", min(sizes)], found["random", max(sizes)]
        lines.append(
            f"{rate:.0%} noise, grouped at random: AUROC of units with more noise than average "
            f"{low['auroc_above']:.3f} at {low['unit_size']} document(s) a unit, "
            f"{high['auroc_above']:.3f} at {high['unit_size']}; rank correlation with the mean of "
            f"the documents' scores {high['spearman_members']:.3f} there."
        )
        weights = [(row["unit_size"], row.get("noise_weight")) for row in (low, high)]
        told = ", ".join(f"{w:.2f} at {size}" for size, w in weights if w is not None)
        lines.append(
            f"{rate:.0%} noise: at temperature -1 noise gets this part of its uniform weight: "
            f"{told} (1 is no effect)."
        )
    return lines
