"""One HTML file from articles: a tab each where there are several, the article alone where not.

Style, script and data are within the file, which asks the network for nothing. Without a script
(or on paper) the articles stand one after another; the tabs are then links to them.
"""

import base64
import hashlib
import json
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

from presence_t5x.reporting.svg import escape

_TITLE = "What self-influence says"
_SCRIPTS = ("report.js", "columns.js", "documents.js")
# In JSON a character may always be written by its number; these could end the element, or, the
# last two, a line of a script.
_UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


class Section(NamedTuple):
    """A card of an article.

    Attributes:
      name: its anchor; unique on the page.
      body: HTML.
      is_whole: the body is the <section> itself, with its anchor and title.
    """

    name: str
    title: str
    body: str
    is_whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Article:
    """What one tab shows.

    Attributes:
      name: its anchor; unique on the page.
      label: on the tab.
      title: above it.
      eyebrow: where it comes from.
      verdict: its first sentence.
      notes: what keeps the verdict from being more than it is.
      footer: how it came about.
    """

    name: str
    label: str
    title: str
    eyebrow: str
    verdict: str
    sections: Sequence[Section]
    notes: Sequence[str] = ()
    footer: str = ""


def render_articles(articles: Sequence[Article], data: Mapping[str, Any] | None = None) -> str:
    """Returns a page as HTML text.

    Args:
      articles: at least one.
      data: what the script shows of them, for JSON. A single article without data has no script,
        so that its tables are not sorted.

    Raises:
      ValueError: two anchors are the same.
    """
    names = [name for one in articles for name in (one.name, *(s.name for s in one.sections))]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"anchors must be unique on a page, but {twice} stand there twice")
    tabs, embedded, script = "", "", ""
    if len(articles) > 1:
        links = (f'<a href="#{one.name}">{escape(one.label)}</a>' for one in articles)
        tabs = f'<nav class="tabs" aria-label="Report">{"".join(links)}</nav>'
    if len(articles) > 1 or data is not None:
        embedded = f'<script type="application/json" id="data">{json_for_html(data or {})}</script>'
        script = "\n".join(_resource(name) for name in _SCRIPTS)
    return string.Template(_resource("template.html")).substitute(
        title=escape(articles[0].title if len(articles) == 1 else _TITLE),
        policy=_policy(script),
        tabs=tabs,
        articles="".join(map(_article, articles)),
        data=embedded,
        script=f"<script>{script}</script>" if script else "",
    )


def json_for_html(value: Any) -> str:
    """Returns JSON that can stand in a <script> element: no text of it can end the element.

    >>> json_for_html("</script>")
    '"\\\\u003c/script\\\\u003e"'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_UNSAFE)


def anchor_of(*words: object) -> str:
    """Returns words as an anchor.

    >>> anchor_of("plan", "a b/c")
    'plan-a-b-c'
    """
    return "-".join(re.sub(r"[^A-Za-z0-9_]+", "-", str(word)) for word in words)


def how(words: str) -> str:
    """Returns a paragraph on how to read what stands next to it."""
    return f'<p class="how">{escape(words)}</p>'


def missing(words: str) -> str:
    """Returns the notice that stands where a figure would be."""
    return f'<p class="missing">{escape(words)}</p>'


def figure_grid(figures: Sequence[tuple[str, str]], css_class: str = "") -> str:
    """Returns charts with their captions in a grid.

    Args:
      figures: captions and SVG.
      css_class: "", "small" or "wide".
    """
    drawn = (
        f"<figure><figcaption>{escape(caption)}</figcaption>{chart}</figure>"
        for caption, chart in figures
    )
    return f'<div class="figures {css_class}">{"".join(drawn)}</div>'


def _article(article: Article) -> str:
    navigation = "".join(
        f'<a href="#{section.name}">{escape(section.title)}</a>' for section in article.sections
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in article.notes)
    sections = "".join(map(_section, article.sections))
    return (
        f'<article class="panel" id="{article.name}"><header>'
        f'<p class="eyebrow">{escape(article.eyebrow)}</p>'
        f"<h1>{escape(article.title)}</h1>"
        f'<p class="verdict">{escape(article.verdict)}</p>'
        f'<ul class="caveats">{notes}</ul>'
        f'<nav aria-label="Sections">{navigation}</nav></header>'
        f"{sections}<footer>{escape(article.footer)}</footer></article>"
    )


def _section(section: Section) -> str:
    if section.is_whole:
        return section.body
    heading = f"<h2>{escape(section.title)}</h2>"
    return f'<section id="{section.name}">{heading}{section.body}</section>'


def _policy(script: str) -> str:
    """A Content-Security-Policy: this script and no other, no request, whatever a text holds."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"'sha256-{digest}'" if script else "'none'"
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}"


def _resource(name: str) -> str:
    return resources.files("presence_t5x.reporting").joinpath(name).read_text(encoding="utf-8")
