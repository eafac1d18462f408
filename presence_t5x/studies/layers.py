"""Which layers tell what all parameters tell, at which cost: `python -m presence_t5x.study layers`.

One pass gives the score of every part of the model (scores add up over parameters): every block,
embeddings, tables of relative positions, final norms, the output matrix. Parts and sums of them
are compared with the score of all parameters on clean text; and where text is spoiled, by how well
they find that. A part is in the sum that it is compared with, so its agreement with everything
else (`spearman_rest`) stands beside.

What forms the logits offers no norm of a single row's gradient without forming it: with it, rows
are differentiated one by one. To keep scoring a big model cheap, leave it out: of a decoder (T5's,
too) `--leave_out=decoder/logits_dense`, or `token_embedder` where that gives the logits; of an
encoder `token_embedder,lm_head`; of a classifier `classes`.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from presence_t5x._validate import did_you_mean
from presence_t5x.config_types import ModelConfig
from presence_t5x.convert.stacks import STACKS
from presence_t5x.models.families import init_params
from presence_t5x.ranking import auroc
from presence_t5x.scored_layers import STACK_AXIS, select_layers
from presence_t5x.scoring.settings import Request, resolve
from presence_t5x.studies.agreement import agreement, spearman
from presence_t5x.studies.cost import scoring_flops
from presence_t5x.studies.results import Chart, Column, Study, Table
from presence_t5x.studies.sample import with_noise
from presence_t5x.studies.separation import ALL, CLEAN
from presence_t5x.studies.texts import (
    Scored,
    add_noise_options,
    add_text_options,
    claim_texts,
    find_checkpoints,
    protocol_of,
    score_texts,
)

HELP = "which layers tell what all tell, at which cost"
EVERYTHING, DEFAULT, LOSS = "all", "first blocks (default)", "loss"
_DEFAULT_KINDS = ("permuted_words", "random_words", "character_noise", "wrong_language")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the study's options."""
    add_text_options(parser)
    add_noise_options(parser, _DEFAULT_KINDS)
    parser.add_argument(
        "--leave_out", default="", metavar="PART,...", help="parts that are not scored"
    )
    parser.add_argument("--no_cost", action="store_true", help="count no FLOPs (compiles each set)")


def run(options: argparse.Namespace) -> Study:
    """Scores by part, and compares.

    Raises:
      ValueError: a wrong setting, or a directory of another study.
    """
    first = find_checkpoints(options.checkpoint)[0]
    settings = resolve(Request(checkpoints=[first]), *options.gin)
    parts = parts_of_model(settings.model)
    for part in filter(None, options.leave_out.split(",")):
        if part not in parts:
            raise ValueError(
                f"--leave_out={part} is no part of {first}: {parts}{did_you_mean(part, parts)}"
            )
        parts.remove(part)
    texts = claim_texts(options, "leave_out")
    scored = score_texts(options, texts, texts.parent, f"--layers={','.join(parts)}", "--by_layer")
    sets = sets_of_parts(parts)
    rows = [row for one in scored for row in _rows(one, sets)]
    costs = {} if options.no_cost else _costs(settings, sets, options.batch_size)
    for row in rows:
        row["flops"] = costs.get(row["layers"])
    protocol = {
        **protocol_of(options, scored),
        "sets": {name: list(found) for name, found in sets.items()},
        "cost": "FLOPs of the compiled scoring of a batch, loops included, over those of its loss",
        "agreement": "on clean documents",
    }
    return _study(rows, protocol, options.kinds.split(","))


def parts_of_model(model: ModelConfig) -> list[str]:
    """Returns patterns that select every parameter once, in order of the tree.

    A stack of scanned layers is named layer by layer, as if it were not scanned.
    """
    shapes = jax.eval_shape(lambda key: init_params(model, key), jax.random.key(0))
    found: dict[str, None] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]:
        names = [str(getattr(key, "key", key)) for key in path]
        if names[0] in STACKS and names[1] == names[0]:
            found |= {f"{names[0]}/layers_{i}": None for i in range(leaf.shape[STACK_AXIS])}
        else:
            found["/".join(names[: 2 if names[0] in STACKS else 1])] = None
    parts = sorted(found, key=_order)
    assert len(select_layers(shapes, parts)) >= len(jax.tree.leaves(shapes))
    return parts


def sets_of_parts(parts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Returns what is compared: every part, and sums of parts, by name; all of them first."""
    blocks = {
        stack: tuple(part for part in parts if part.startswith(f"{stack}/layers_"))
        for stack in STACKS
    }
    sums = {
        EVERYTHING: tuple(parts),
        DEFAULT: tuple(f"{stack}/layers_0" for stack, found in blocks.items() if found),
        **{f"{stack} blocks": found for stack, found in blocks.items()},
        "all but embeddings": tuple(part for part in parts if "embed" not in part),
    }
    kept = {name: found for name, found in sums.items() if found and set(found) <= set(parts)}
    return {**kept, **{part: (part,) for part in parts}}


def _order(part: str) -> tuple[int, bool, int, str]:
    """Embeddings, encoder, decoder; blocks by number before the rest."""
    stack = part.split("/")[0]
    number = part.rpartition("_")[2]
    place = STACKS.index(stack) + 1 if stack in STACKS else 0
    return (place, not number.isdigit(), int(number) if number.isdigit() else 0, part)


def _rows(scored: Scored, sets: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Agreement and separation of every set, by language."""
    known = [row for row in with_noise(scored.rows) if row["score"] is not None]
    languages = np.array([row["language"] for row in known], object)
    noise = np.array([row["noise"] for row in known], object)
    values = {
        name: np.sum([[row[f"score/{part}"] for row in known] for part in parts], axis=0)
        for name, parts in sets.items()
    }
    values[LOSS] = np.array([row["loss"] for row in known])
    rows = []
    for language in [*sorted(set(languages)), ALL]:
        within = (languages == language) | (language == ALL)
        clean = within & (noise == CLEAN)
        everything = values[EVERYTHING][clean]
        for name, found in values.items():
            mine = found[clean]
            row = {"step": scored.step, "language": language, "layers": name}
            row |= agreement(mine, everything)
            if name in sets and name != EVERYTHING:
                row["spearman_rest"] = spearman(mine, everything - mine)
                row["share"] = float(np.mean(mine / everything))
            for kind in dict.fromkeys(noise[noise != CLEAN]):
                row[_auroc_name(kind)] = auroc(found[within & (noise == kind)], mine)
            rows.append(row)
    return rows


def _costs(settings: Any, sets: Mapping[str, Sequence[str]], batch_size: int) -> dict[str, float]:
    """Returns the FLOPs of scoring every set, over those of the loss alone."""
    loss = scoring_flops(settings, None, batch_size)
    costs = {name: scoring_flops(settings, parts, batch_size) for name, parts in sets.items()}
    return {LOSS: 1.0, **{name: flops / loss for name, flops in costs.items()}}


def _auroc_name(kind: str) -> str:
    return f"auroc_{kind}"


def _study(rows: Sequence[dict[str, Any]], protocol, kinds: Sequence[str]) -> Study:
    last = rows[-1]["step"]
    overall = {"step": last, "language": ALL}
    tops = [name for name in rows[0] if name.startswith("top_")]
    columns = [
        Column("step", "step"),
        Column("language", "language", "label"),
        Column("layers", "layers", "label"),
        Column("spearman", "rank correlation with all"),
        *(Column(name, f"overlap of the {name.replace('_', ' ')} with all's") for name in tops),
        Column("spearman_rest", "rank correlation with all others"),
        Column("share", "share of all's score"),
        Column("flops", "FLOPs over the loss's"),
        *(Column(_auroc_name(kind), f"AUROC, {kind.replace('_', ' ')}") for kind in kinds),
    ]
    shown = [column.name for column in columns if column.name not in ("step", "language")]
    charts = [
        Chart(
            title=f"Agreement with the score of all parameters, step {last}",
            x="layers",
            y="spearman",
            where=overall,
        ),
        *(
            Chart(
                title=f"{kind.replace('_', ' ').capitalize()} above clean text, step {last}",
                x="layers",
                y=_auroc_name(kind),
                where=overall,
            )
            for kind in kinds
        ),
    ]
    if any(row["flops"] for row in rows):
        charts.append(Chart(title="Cost of scoring", x="layers", y="flops", where={**overall}))
    tables = [
        Table(title=f"All languages, step {last}", where=overall, columns=shown),
        Table(
            title=f"Rank correlation with the score of all parameters, by language, step {last}",
            where={"step": last},
            down="layers",
            across="language",
            value="spearman",
        ),
    ]
    return Study(
        study="layers",
        title="Layers: what their scores tell",
        columns=columns,
        rows=rows,
        protocol=protocol,
        charts=charts,
        tables=tables,
        findings=_findings(rows, overall, kinds),
    )


def _findings(rows, overall, kinds) -> list[str]:
    found = {
        row["layers"]: row
        for row in rows
        if all(row[name] == value for name, value in overall.items())
    }
    lines = []
    if DEFAULT in found:
        row = found[DEFAULT]
        cost = f", at {row['flops']:.2f} times the FLOPs of the loss" if row["flops"] else ""
        whole = found[EVERYTHING]
        cost += f" (all: {whole['flops']:.2f})" if row["flops"] else ""
        lines.append(
            f"The first blocks rank clean text as all parameters do with {row['spearman']:.3f} "
            f"(top 10 %: {row['top_10%']:.2f} in common){cost}."
        )
    for kind in kinds:
        name = _auroc_name(kind)
        best = max((row for row in found.values() if row["layers"] != LOSS), key=lambda r: r[name])
        lines.append(
            f"{kind.replace('_', ' ').capitalize()}: best found by {best['layers']} "
            f"({best[name]:.3f}); all {found[EVERYTHING][name]:.3f}, loss {found[LOSS][name]:.3f}."
        )
    return lines
