"""The page in a browser shows what pyarrow computes, runs no text and fetches nothing."""

import json
import re
import shutil
from urllib.parse import parse_qs

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import scored_corpus
import synthetic_runs

from presence_t5x.report import main

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright drives the browser: pip install playwright"
)
expect = playwright.expect
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

STUDY = {
    "study": "noise",
    "title": "Noise \ud800 <b>bold</b>",
    "columns": [
        {"name": "noise", "title": "noise", "kind": "label"},
        {"name": "auroc", "title": "AUROC", "kind": "number"},
    ],
    "charts": [],
    "rows": [
        {"noise": f"kind {i} \ud800{'<i>x</i>' if i == 3 else ''}", "auroc": value}
        for i, value in enumerate([0.5, 2e-5, None, 0.123, 1234.5, -0.25, 12e6, *[0.3] * 8])
    ],
    "protocol": {"input": "</script><script>window.hacked = 7</script>"},
}


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    return scored_corpus.write_scored(tmp_path_factory.mktemp("scored"))


@pytest.fixture(scope="module")
def path(tmp_path_factory, scores):
    """A page with every kind of tab."""
    root = tmp_path_factory.mktemp("report")
    baseline, presence = synthetic_runs.write_pair(root, steps=50, languages=("en", "zh"))
    scored_corpus.write_influence_log(presence)
    (root / "study").mkdir()
    (root / "study" / "study.json").write_text(json.dumps(STUDY))
    arguments = [f"--baseline={baseline}", f"--presence={presence}", f"--scores={scores}",
                 f"--study={root / 'study'}", f"--output={root}"]  # fmt: skip
    assert main(arguments) == 0
    return root / "report" / "index.html"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, path):
    """Opens pages; at the end nothing may have run, been said on the console, or been fetched."""
    opened, said, fetched, files = [], [], [], set()

    def open_(address="", file=path, **settings):
        context = browser.new_context(viewport={"width": 1200, "height": 900}, **settings)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(f"file://{file}{address}")
        files.add(file)
        opened.append((page, context, settings))
        return page

    yield open_
    for page, context, settings in opened:
        if settings.get("java_script_enabled", True):
            assert page.evaluate("window.hacked") is None
        context.close()
    assert said == []
    assert {url.split("#")[0] for url in fetched} == {f"file://{file}" for file in files}


def address(page):
    place, _, query = page.evaluate("location.hash").removeprefix("#").partition("?")
    return place, {name: values[0] for name, values in parse_qs(query).items()}


def rows_of(page):
    """Scrolls through the table of documents, and returns the ids in order."""
    number = int(page.locator(".rows table").get_attribute("aria-rowcount")) - 1
    found = {}
    for top in range(0, max(1, number * 32), 900):
        page.evaluate("(top) => { document.querySelector('.rows').scrollTop = top }", top)
        page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 5)))")
        found |= dict(
            page.evaluate(
                "[...document.querySelectorAll('.rows tr[data-at]')]"
                ".map((row) => [Number(row.dataset.at), row.cells[0].textContent])"
            )
        )
    assert sorted(found) == list(range(number))
    return [found[at] for at in range(number)]


def ids(table, indices):
    return table["example_id"].take(indices).to_pylist()


def test_tabs_by_mouse(open_page):
    page = open_page()
    tabs = page.get_by_role("tab")
    labels = ["The run", "Influence", "Documents", "Studies"]
    assert tabs.all_inner_texts() == labels
    for label, place in zip(labels[::-1], ("studies", "documents", "influence", "run")):
        page.get_by_role("tab", name=label, exact=True).click()
        assert page.get_by_role("tabpanel").count() == 1
        assert page.locator(".panel:not([hidden])").get_attribute("id") == place
        assert address(page)[0] == place
    page.go_back()
    assert page.get_by_role("tab", selected=True).inner_text() == "Influence"


def test_tabs_by_keyboard(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    seen = []
    for key in ("ArrowRight", "ArrowRight", "End", "ArrowRight", "ArrowLeft", "Home"):
        page.keyboard.press(key)
        focused = page.evaluate("document.activeElement.textContent")
        assert page.get_by_role("tab", selected=True).inner_text() == focused
        seen.append(focused)
    assert seen == ["Influence", "Documents", "Studies", "The run", "Studies", "The run"]
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    # One stop for all tabs: the next is in the panel.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.panel').id") == "run"


@pytest.mark.parametrize(
    ("title", "column", "presses"),
    [("score", "score", 1), ("score", "score", 2), ("id", "example_id", 1),
     ("id", "example_id", 2), ("language", "language", 1), ("tokens", "num_tokens", 2),
     ("loss", "loss", 1), ("decoder score", "score_decoder", 2)],
)  # fmt: skip
def test_sorting_equals_pyarrow(open_page, scores, title, column, presses):
    page = open_page("#documents")
    button = page.locator(".rows thead").get_by_role("button", name=title, exact=True)
    button.click()
    if presses == 2:
        button.press("Enter")
    is_number = column not in ("example_id", "language")
    descending = is_number == (presses == 1)
    heading = page.locator(".rows th[aria-sort]")
    assert heading.get_attribute("aria-sort") == ("descending" if descending else "ascending")
    table = pq.read_table(scores)
    table = table.append_column("row", pa.array(range(len(table))))
    keys = [(column, "descending" if descending else "ascending", "at_end"),
            ("row", "ascending", "at_end")]  # fmt: skip
    expected = pc.sort_indices(table, sort_keys=keys)
    assert rows_of(page) == ids(table, expected)
    button.press("Enter")
    if presses == 2:  # a third press gives the order of the file back
        assert rows_of(page) == table["example_id"].to_pylist()


def expected_rows(table, *, language=None, source=None, low=-np.inf, high=np.inf, column="score"):
    keep = pc.is_valid(table["example_id"])
    if language:
        keep = pc.and_(keep, pc.equal(table["language"], language))
    if source:
        keep = pc.and_(keep, pc.equal(table["source"], source))
    if low > -np.inf or high < np.inf:
        within = pc.and_(
            pc.greater_equal(table[column], low), pc.less_equal(table[column], high)
        )  # fmt: skip
        keep = pc.and_(keep, pc.fill_null(within, False))
    return table.filter(keep)


def check_found(page, table):
    count = f"{len(table)} of 300 documents · {pc.sum(table['num_tokens']).as_py() or 0:,} tokens"
    expect(page.locator(".found")).to_have_text(re.compile(f"^{re.escape(count)}"))
    told = page.locator(".found").inner_text().split(" · ")[2:]
    for text, column in zip(told, ("loss", "score")):
        expected = pc.mean(table[column]).as_py()
        assert float(text.split()[-1].replace(",", "")) == pytest.approx(expected, rel=6e-4)
    assert rows_of(page) == table["example_id"].to_pylist()


def test_filters_equal_pyarrow(open_page, scores):
    page, table = open_page("#documents"), pq.read_table(scores)
    page.get_by_label("language", exact=True).select_option("ar")
    check_found(page, expected_rows(table, language="ar"))
    page.get_by_label("source", exact=True).select_option("wiki")
    check_found(page, expected_rows(table, language="ar", source="wiki"))
    page.get_by_label("language", exact=True).select_option("")
    page.get_by_label("at least").fill("0.5")
    check_found(page, expected_rows(table, source="wiki", low=0.5))
    page.get_by_label("at most").fill("1.2")
    check_found(page, expected_rows(table, source="wiki", low=0.5, high=1.2))
    page.get_by_label("range of").select_option("loss")
    page.get_by_label("at most").fill("3")
    check_found(page, expected_rows(table, source="wiki", low=0.5, high=3, column="loss"))
    page.get_by_role("button", name="Clear").click()
    check_found(page, table)
    assert address(page) == ("documents", {})


def test_words_are_looked_for_in_ids_and_texts(open_page, scores):
    page, table = open_page("#documents"), pq.read_table(scores)
    page.get_by_label("id or text contains").fill("DOC-001")
    check_found(page, table.filter(pc.match_substring(table["example_id"], "doc-001")))
    # A second change before the first took effect loses neither.
    page.get_by_label("id or text contains").fill("doc-")
    page.get_by_label("language", exact=True).select_option("sw")
    known = pc.match_substring(table["example_id"], "doc-")
    check_found(page, expected_rows(table.filter(known), language="sw"))
    page.get_by_label("language", exact=True).select_option("")
    page.get_by_label("id or text contains").fill("穿过古老")
    check_found(page, table.filter(pc.equal(table["example_id"], "chinese")))
    page.get_by_label("id or text contains").fill("nowhere at all")
    expect(page.locator(".rows tr[data-at]")).to_have_count(0)
    assert page.locator(".found").inner_text().startswith("0 of 300 documents")


def test_rows_by_keyboard(open_page, scores):
    page, table = open_page("#documents"), pq.read_table(scores)
    names = table["example_id"].to_pylist()
    last = page.locator(".rows thead button").last
    last.focus()

    def focused():
        return page.evaluate("document.activeElement.cells?.[0].textContent")

    page.keyboard.press("Tab")
    if focused() is None:  # some browsers stop at what scrolls
        page.keyboard.press("Tab")
    assert focused() == names[0]
    for key, at in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("End", 299),
                    ("Home", 0), ("ArrowUp", 0)):  # fmt: skip
        page.keyboard.press(key)
        assert focused() == names[at], key
    page.keyboard.press("PageDown")
    below = names.index(focused())
    assert 5 < below < 40
    page.keyboard.press("Enter")
    region = page.get_by_role("region", name="The chosen document")
    assert region.locator("h3").inner_text() == names[below]
    assert region.evaluate("(element) => element === document.activeElement")
    assert address(page)[1]["doc"] == names[below]
    page.keyboard.press("Escape")
    assert focused() == names[below]
    # Scrolled out of sight by the mouse, the place of the keyboard is kept.
    page.evaluate("() => { document.querySelector('.rows').scrollTop = 7000 }")
    expect(page.locator(".rows tr.aside")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    assert focused() == names[below + 1]


def test_the_address_keeps_everything(open_page):
    page = open_page("#documents")
    page.get_by_label("language", exact=True).select_option("zh")
    page.locator(".rows thead").get_by_role("button", name="score", exact=True).click()
    page.get_by_label("at most").fill("990.5")
    page.locator(".rows tr[data-at]").nth(1).click()
    page.get_by_role("tab", name="Studies").click()
    page.locator("#studies thead").get_by_role("button", name="AUROC").click()
    page.get_by_label("Filter rows of this table").fill("kind 14")
    page.get_by_role("tab", name="Documents").click()
    place, values = address(page)
    assert place == "documents" and values.keys() >= {"language", "sort", "max", "doc"}

    def seen(page):
        chosen = page.locator(".rows tr[aria-selected=true]")
        return (
            page.locator(".found").inner_text(), rows_of(page), chosen.count(),
            page.locator(".document").inner_text(),
            page.get_by_label("language", exact=True).input_value(),
            page.locator("#studies tbody tr:not([hidden])").evaluate_all(
                "(rows) => rows.map((row) => row.textContent)"
            ),
        )  # fmt: skip

    before = seen(page)
    assert len(before[-1]) == 1 and len(before[1]) > 5
    page.reload()
    assert seen(page) == before
    assert seen(open_page(page.evaluate("location.hash"))) == before
    page.go_back()  # from the tab, then from the choice of a document
    assert page.get_by_role("tab", selected=True).inner_text() == "Studies"


def test_a_link_goes_to_a_section_of_another_tab(open_page):
    page = open_page("#ranking")
    assert page.get_by_role("tab", selected=True).inner_text() == "The run"
    assert page.evaluate("document.activeElement.id") == "ranking"
    assert page.evaluate("document.getElementById('ranking').getBoundingClientRect().top") < 50
    page.evaluate("() => { location.hash = '#study-noise' }")
    expect(page.locator("#studies")).to_be_visible()
    assert open_page("#%ff?doc=none").get_by_role("tab", selected=True).count() == 1


@pytest.mark.parametrize("name", scored_corpus.SPECIAL)
def test_texts_are_shown_as_they_are(open_page, name):
    page = open_page("#documents")
    page.get_by_label("id or text contains").fill(name)
    expect(page.locator(".rows tr[data-at]")).to_have_count(1)
    page.locator(".rows tr[data-at]").click()
    language, text = scored_corpus.SPECIAL[name]
    shown = page.locator(".document .text")
    expected = scored_corpus.SHOWN.get(name, text)
    assert shown.evaluate("(element) => element.textContent") == expected
    assert page.locator(".document h3").evaluate("(element) => element.textContent") == name
    direction = "rtl" if language in ("ar", "fa") else "ltr"
    assert shown.evaluate("(element) => getComputedStyle(element).direction") == direction
    cards = page.locator("#documents-extremes li").filter(has=page.get_by_text(name, exact=True))
    card = cards.first.locator(".text")
    assert card.evaluate("(element) => element.textContent") == expected
    assert card.evaluate("(element) => getComputedStyle(element).direction") == direction
    assert card.evaluate("(element) => getComputedStyle(element).unicodeBidi") == "plaintext"


def test_nothing_of_a_text_becomes_an_element(open_page):
    page = open_page("#documents?doc=" + "%3Cb%20onmouseover")
    assert page.locator("main img, main script, main b, main i, main svg[onload]").count() == 0
    assert page.locator("script").count() == 2  # the data and the one script
    assert "No document <b onmouseover is in this table" in page.locator(".document").inner_text()
    study = page.evaluate("document.getElementById('studies').textContent")
    assert "Noise � <b>bold</b>" in study and "kind 3 �<i>x</i>" in study
    assert "</script><script>window.hacked = 7</script>" in study


def test_the_policy_stops_scripts_that_escaping_missed(browser, path):
    """The second wall, tried with a page whose first wall is broken."""
    page = browser.new_page()
    attack = '<img src="x" onerror="window.hacked = 8"><script>window.hacked = 9</script>'
    html = path.read_text(encoding="utf-8").replace("<main>", f"<main>{attack}", 1)
    page.set_content(html)
    page.wait_for_selector(".rows tr[data-at]", state="attached")
    assert page.evaluate("window.hacked") is None
    page.close()


def test_tables_of_studies_are_sorted_by_value(open_page):
    page = open_page("#studies")
    button = page.locator("#studies thead").get_by_role("button", name="AUROC")
    rows = page.locator("#studies tbody tr")
    given = [(row["noise"].replace("\ud800", "�"), row["auroc"]) for row in STUDY["rows"]]
    unknown = [name for name, value in given if value is None]
    for sign in (-1, 1):
        button.press("Enter")
        known = sorted((pair for pair in given if pair[1] is not None), key=lambda p: sign * p[1])
        names = rows.evaluate_all("(rows) => rows.map((row) => row.cells[0].textContent)")
        assert names == [name for name, _ in known] + unknown


def test_numbers_in_words_are_read_as_numbers(open_page):
    page = open_page()
    texts = ["1,234", "−0.5", "12.5 %", "1.2×10⁷", "10⁻⁵", "−2×10⁻⁵", "+3.0%", "50.0"]
    found = page.evaluate("(texts) => texts.map(parseNumber)", texts)
    assert found == [1234, -0.5, 12.5, 1.2e7, 1e-5, -2e-5, 3, 50]
    assert page.evaluate("['', 'x', '12 of 8'].every((text) => Number.isNaN(parseNumber(text)))")


def test_without_javascript_everything_is_there(open_page):
    page = open_page(java_script_enabled=False)
    for place in ("run", "influence", "documents", "studies"):
        assert page.locator(f"#{place} h1").is_visible()
    text = page.locator("#documents-extremes li").first.inner_text()
    assert scored_corpus.ATTACK in text and "This table needs JavaScript" in page.inner_text("main")
    assert page.locator("#documents-extremes li").count() == 20


def test_narrow_windows_and_paper(open_page):
    page = open_page("#documents")
    page.set_viewport_size({"width": 360, "height": 700})
    for place in ("run", "influence", "documents", "studies"):
        page.locator(f"#tab-{place}").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, place
    page.emulate_media(media="print")
    for place in ("run", "influence", "documents", "studies"):
        assert page.locator(f"#{place} h1").is_visible()
    assert not page.locator(".rows").is_visible()


def test_dark_colours(open_page):
    page = open_page("#documents", color_scheme="dark")
    color = page.evaluate("getComputedStyle(document.querySelector('.rows th')).backgroundColor")
    assert color == "rgb(28, 31, 37)"


def test_two_files_of_scores_have_states_of_their_own(open_page, scores, tmp_path):
    other = tmp_path / "other.parquet"
    pq.write_table(pq.read_table(scores).slice(0, 40), other)
    assert main([f"--scores={scores}", f"--scores={other}", f"--output={tmp_path}"]) == 0
    page = open_page("#documents", file=tmp_path / "report" / "index.html")
    page.locator("#documents-all-2").get_by_label("language", exact=True).select_option("en")
    table = pq.read_table(other)
    expected = expected_rows(table, language="en")
    found = page.locator("#documents-all-2 .found").inner_text()
    assert found.startswith(f"{len(expected)} of 40 documents")
    assert page.locator("#documents-all .found").inner_text().startswith("300 of 300")
    assert address(page)[1] == {"2.language": "en"}


def test_a_hundred_thousand_documents(open_page, tmp_path):
    random = np.random.default_rng(0)
    size = 100_000
    columns = {
        "example_id": [f"shard-{i // 1000:03}:{i}" for i in range(size)],
        "language": np.array(scored_corpus.LANGUAGES)[random.integers(6, size=size)],
        "source": np.array(["web", "wiki"])[random.integers(2, size=size)],
        "num_tokens": random.integers(10, 500, size),
    }
    scores = random.lognormal(0, 1, size)
    path = scored_corpus.write_scores(tmp_path / "big.parquet", columns, scores)
    assert main([f"--scores={path}", f"--output={tmp_path}"]) == 0
    file = tmp_path / "report" / "index.html"
    assert file.stat().st_size < 10e6
    page = open_page("#documents?sort=-score&language=sw&min=0.5&max=3&q=shard-01", file=file)
    table = expected_rows(pq.read_table(path), language="sw", low=0.5, high=3)
    table = table.filter(pc.starts_with(table["example_id"], "shard-01")).sort_by(
        [("score", "descending")]
    )
    assert page.locator(".found").inner_text().startswith(f"{len(table):,} of 100,000 documents")
    assert rows_of(page) == table["example_id"].to_pylist()
    page.get_by_role("button", name="Clear").click()
    page.evaluate("() => { document.querySelector('.rows').scrollTop = 1e9 }")
    page.wait_for_selector('.rows tr[data-at="99999"]')
    assert page.locator(".rows tr[data-at]").count() < 60  # rows in sight alone are in the page
