"""Where a person looks: runs, scored documents, studies and plans on one page.

    python -m presence_t5x.report --baseline=DIR --presence=DIR --output=DIR
    python -m presence_t5x.report --scores=FILE.parquet --study=DIR --plan=DIR --output=DIR

Writes DIR/report/index.html, a file that needs nothing else (no font, no request), with a tab for
each kind of thing it was given; of two runs also DIR/summary.json, with their tables on the
terminal.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from presence_t5x._validate import check_int
from presence_t5x.command_line import OneLineParser, exit_status
from presence_t5x.files import write_text_atomically
from presence_t5x.reporting.documents_article import documents_article
from presence_t5x.reporting.influence_article import influence_article
from presence_t5x.reporting.influence_log_file import read_influence_log
from presence_t5x.reporting.page import Article, Section, anchor_of, render_articles
from presence_t5x.reporting.run_article import run_article
from presence_t5x.reporting.run_files import Run, read_run
from presence_t5x.reporting.scored_documents import read_scores
from presence_t5x.reporting.summary import print_tables, summarize, write_summary
from presence_t5x.reproduction.page import plan_article
from presence_t5x.reproduction.saved_tables import read_saved
from presence_t5x.studies.page import study_section
from presence_t5x.studies.results import read_study

_PAGE = "index.html"


def write_report(
    baseline_dir: str | Path, presence_dir: str | Path, output_dir: str | Path
) -> Path:
    """Writes the report on an unweighted and a weighted run, whole or not at all.

    What a run did not record (no probe, a single evaluation) is said on the page in its place.

    Returns:
      The path of the page, `output_dir`/index.html; the directory is made where it is missing.

    Raises:
      ValueError: a run directory without its files, or with a torn one (see `read_run`).
    """
    page = render_report(read_run(baseline_dir), read_run(presence_dir))
    path = Path(output_dir) / _PAGE
    write_text_atomically(page, path)
    return path


def render_report(baseline: Run, presence: Run) -> str:
    """Returns the page on two runs as HTML text; a pure function of them."""
    return render_articles([run_article(baseline, presence)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes what the command line asks for; errors are one line and exit status 2."""
    words = sys.argv[1:] if arguments is None else arguments
    return exit_status(lambda: report(_parser().parse_args(words)))


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m presence_t5x.report",
        description="Show runs, scored documents, studies and plans on one page.",
        epilog="--scores, --study and --plan may be repeated.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--output", required=True, metavar="DIR", help="gets report/index.html")
    add("--baseline", metavar="DIR", help="directory of an unweighted run")
    add("--presence", metavar="DIR", help="directory of a weighted run, with --baseline")
    add("--scores", action="append", default=[], metavar="FILE.parquet",
        help="of presence_t5x.score")  # fmt: skip
    add("--study", action="append", default=[], metavar="DIR", help="of presence_t5x.study")
    add("--plan", action="append", default=[], metavar="DIR", help="of presence_t5x.reproduce")
    add("--texts", type=int, default=20, metavar="N",
        help="the highest and the lowest N documents of each language have their text "
        "(default: 20)")  # fmt: skip
    return parser


def report(options: argparse.Namespace) -> None:
    """Writes the page, and the summary of two runs.

    Raises:
      ValueError: nothing to show, or something that is not there or damaged.
    """
    if (options.baseline is None) != (options.presence is None):
        raise ValueError("--baseline and --presence belong together; give both")
    if not any((options.baseline, options.scores, options.study, options.plan)):
        raise ValueError("nothing to show; give --baseline and --presence, --scores, --study or "
                         "--plan")  # fmt: skip
    check_int("--texts", options.texts, minimum=0)
    articles: list[Article] = []
    data: dict[str, Any] | None = None
    summary: dict[str, Any] = {}
    logs = []
    if options.baseline is not None:
        runs = [read_run(options.baseline), read_run(options.presence)]
        summary = summarize(*runs)
        articles.append(run_article(*runs))
        found = (read_influence_log(run.directory) for run in reversed(runs))
        logs = [log for log in found if log is not None]
    scores = [read_scores(Path(path)) for path in options.scores]
    if scores or logs:
        articles.append(influence_article(scores, logs))
    if scores:
        documents, data = documents_article(scores, options.texts)
        articles.append(documents)
    if options.study or options.plan:
        data = data or {}  # their tables can be sorted
    if options.study:
        articles.append(_studies_article([Path(path) for path in options.study]))
    articles += _plan_articles([Path(path) for path in options.plan])

    output = Path(options.output)
    page = output / "report" / _PAGE
    write_text_atomically(render_articles(articles, data), page)
    if summary:
        write_summary(summary, output / "summary.json")
        print_tables(summary, Console())
        print(f"summary: {output / 'summary.json'}")
    print(f"report:  {page}")


def _studies_article(directories: Sequence[Path]) -> Article:
    """Returns all studies, a section each."""
    sections: list[Section] = []
    for directory in directories:
        study = read_study(directory)
        name = anchor_of(study["study"])
        taken = {section.name for section in sections}
        names = (name, *(f"{name}-{number}" for number in range(2, len(directories) + 1)))
        study["study"] = next(one for one in names if f"study-{one}" not in taken)
        body = study_section(study)
        sections.append(Section(f"study-{study['study']}", study["title"], body, is_whole=True))
    titles = "; ".join(section.title for section in sections)
    return Article(
        name="studies",
        label="Studies",
        title="What does the score see?",
        eyebrow=" · ".join(map(str, directories)),
        verdict=f"{len(sections)} {'study' if len(sections) == 1 else 'studies'}: {titles}.",
        sections=sections,
        footer="Written by presence_t5x.report from what presence_t5x.study found.",
    )


def _plan_articles(directories: Sequence[Path]) -> list[Article]:
    """Returns the tables of every plan, a tab each."""
    articles: list[Article] = []
    for directory in directories:
        found = read_saved(directory)
        name = "ablations" if not articles else f"ablations-{len(articles) + 1}"
        label = "Ablations" if len(directories) == 1 else f"Ablations: {found.plan.name}"
        told = (found.plan, found.rows, found.protocols)
        articles.append(plan_article(*told, name=name, label=label, prefix=f"{name}-"))
    return articles


if __name__ == "__main__":
    sys.exit(main())
