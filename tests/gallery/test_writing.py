"""The files of a gallery: what they hold, and what they can't be made to hold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seedream_jobs.errors import UsageError
from seedream_jobs.ledger.state import State
from seedream_jobs.records import find_record, read_ledger
from seedream_jobs.results.gallery import build_gallery, cells, page
from seedream_jobs.results.gallery.cells import GalleryCell as Cell
from seedream_jobs.results.gallery.cells import GalleryRun as Run
from seedream_jobs.results.gallery.cells import href
from seedream_jobs.results.gallery.page import (
    PAGE_SIZE,
    STATE_WORDS,
    data_script,
    html_text,
    literal,
    page_axes,
    write_gallery,
)
from tests.campaign import TARGET, Folder, history, requests_of
from tests.campaign import record as put_on_record
from tests.lanes import examples

ASSETS = Path(page.__file__).parent / "assets"
NASTY = st.text(st.sampled_from("<>/!-'\"\\&`${}\n\r\u2028\u2029\ufeff\x00\x7f\ud800é猫scriptSCRIPT"), max_size=40)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def script_of(runs: list[Run]) -> str:
    return data_script(runs, page_axes(runs), title="t")


def decoded(script: str) -> list[str]:
    """The JSON texts of the string literals in a data script: what ``JSON.parse`` is given."""
    return [re.sub(r"\\\\", r"\\", text) for text in re.findall(r"'((?:[^'\\]|\\\\)*)'", script.split("\n", 1)[1])]


@given(NASTY)
def test_no_text_leaves_its_literal(text: str) -> None:
    """Whatever the text, the literal is one line of plain characters that ends where it should and reads back."""
    told = literal({"prompt": text})
    assert re.fullmatch(r"'(?:[^'\\\n\r<>&\u2028\u2029]|\\\\)*'", told)
    told.encode()
    assert json.loads(told[1:-1].replace("\\\\", "\\")) == {"prompt": text}


@given(NASTY)
def test_no_text_leaves_its_element(text: str) -> None:
    class Reader(HTMLParser):
        tags: list[str]

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.tags.append(tag)

    reader = Reader()
    reader.tags = []
    markup = f'<p title="{html_text(text)}">{html_text(text)}</p>'
    reader.feed(markup)
    reader.close()
    markup.encode()
    assert reader.tags == ["p"]


@given(st.text(max_size=30))
def test_a_reference_is_always_a_relative_path(path: str) -> None:
    """No scheme, no host, no query, no fragment, whatever the file is called; or it is refused."""
    try:
        told = href(path)
    except ValueError:
        assert (
            not path
            or path.startswith("/")
            or "\\" in path
            or re.search(r"[\x00-\x1f\x7f]", path)
            or not path.isascii()
        )
        return
    except UnicodeEncodeError:
        return
    assert re.fullmatch(r"(?:[\w.~/-]|%[0-9A-F]{2})+", told, re.ASCII)
    assert not told.startswith("/")


@pytest.mark.parametrize("path", ["/etc/passwd", "", "a\\b", "a\nb", "//host/x"])
def test_absolute_and_odd_paths_are_refused(tmp_path: Path, path: str) -> None:
    if path:
        with pytest.raises(ValueError, match="not a path relative to the page"):
            write_gallery(tmp_path, [Run(name="x", cells=[Cell(key="k", address="x#1", image=path)])])
    with pytest.raises(ValueError, match="not a path relative to the page"):
        href(path)


def test_a_scheme_becomes_a_file_name() -> None:
    assert href("javascript:alert(1)") == "javascript%3Aalert%281%29"
    assert href("data:text/html,x", up=1) == "../data%3Atext/html%2Cx"


def test_the_same_run_gives_the_same_bytes(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    for name in ("a", "b"):
        write_gallery(tmp_path / name, [make_run(tmp_path / name)])
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*.js")}
    write_gallery(tmp_path / "a", [make_run(tmp_path / "a")])
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*.js")}


def test_equal_payloads_are_written_once_and_prompts_apart(make_run: Callable[..., Run], tmp_path: Path) -> None:
    header = json.loads(decoded(script_of([make_run(tmp_path)]))[0])
    assert header["payloads"] == [{"model": "m", "size": "16:9", "n": 1}]


def test_axes_of_runs_and_cells_are_united_in_order() -> None:
    runs = [
        Run(
            name="a",
            title="one",
            axes={"x": ("1", "2")},
            cells=[Cell(key="k", address="a", axes={"x": "3", "y": "p"})],
        ),
        Run(name="a", title="two", axes={"x": ("2", "4")}, cells=[Cell(key="k", address="a", repeat=2, index=3)]),
    ]
    header, first, second = (json.loads(t) for t in decoded(script_of(runs)))
    assert [(a["name"], a["values"]) for a in header["axes"]] == [
        ("x", ["1", "2", "3", "4"]),
        ("y", ["p"]),
        ("repeat", ["1", "2"]),
        ("image", ["1", "2", "3"]),
        ("run", ["one", "two"]),
    ]
    assert (first["at"], second["at"]) == ([2, 0, 0, 0, 0], [-1, -1, 1, 2, 1])


def test_long_runs_have_further_plain_pages_and_stale_ones_go(tmp_path: Path) -> None:
    cells = [Cell(key=f"k{n}", address=f"x#{n}", image=f"i/{n}.png") for n in range(PAGE_SIZE * 2 + 1)]
    write_gallery(tmp_path, [Run(name="x", cells=cells)])
    assert sorted(p.name for p in (tmp_path / "pages").iterdir()) == ["2.html", "3.html"]
    assert 'href="../i/500.png"' in (tmp_path / "pages" / "2.html").read_text()
    assert 'href="pages/3.html"' in (tmp_path / "index.html").read_text()
    (tmp_path / "pages" / "own.html").write_text("mine")
    write_gallery(tmp_path, [Run(name="x", cells=cells[: PAGE_SIZE + 1])])
    assert sorted(p.name for p in (tmp_path / "pages").iterdir()) == ["2.html", "own.html"]


def test_a_single_file_has_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_run: Callable[..., Run]
) -> None:
    run = make_run(tmp_path)
    monkeypatch.setattr(page, "SINGLE_FILE_LIMIT", 1000)
    with pytest.raises(UsageError, match="18 images are too many for one file"):
        write_gallery(tmp_path, [run], single_file=True)
    assert not (tmp_path / "index.html").exists()


def test_a_single_file_takes_only_images(tmp_path: Path) -> None:
    """A thumbnail that is no image, or is gone, is left out: its bytes never reach the page."""
    (tmp_path / "t.webp").write_bytes(b"<svg onload=alert(1)>")
    cells = [
        Cell(key="k", address="x#1", thumbnail="t.webp"),
        Cell(key="l", address="x#2", thumbnail="gone.webp"),
    ]
    text = write_gallery(tmp_path, [Run(name="x", cells=cells)], single_file=True).read_text()
    assert "data:image" not in text.split("<noscript>")[1].split("</noscript>")[0]


def test_the_policy_names_every_script_of_a_single_file(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    text = write_gallery(tmp_path, [make_run(tmp_path)], single_file=True).read_text()
    assert text.count("'sha256-") == len(page.SCRIPTS) + 2
    assert "unsafe" not in text.split("<title>")[0]


def test_a_failed_write_leaves_the_old_page(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    index = write_gallery(tmp_path, [make_run(tmp_path)])
    before = index.read_bytes()
    bad = Run(name="x", cells=[Cell(key="k", address="a", image="/absolute.png")])
    with pytest.raises(ValueError, match="relative"):
        write_gallery(tmp_path, [bad])
    assert index.read_bytes() == before
    assert not [name for name in tree(tmp_path) if name.endswith(".part")]


@pytest.mark.parametrize("name", page.SCRIPTS)
def test_the_scripts_never_write_markup(name: str) -> None:
    """Text nodes only; nothing that would end an inlined script; nothing asked of the network; files stay short."""
    text = (ASSETS / f"{name}.js").read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(|fetch\(|XMLHttp", text
    )
    assert not re.search(r"</script|<!--|https?://(?!www\.w3\.org/2000/svg)", text)
    assert text.startswith("'use strict';\n// ")
    assert len(text.splitlines()) < 300


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ink", ["ink", "soft", "accent", "star", "good", "busy", "doubt", "bad"])
@pytest.mark.parametrize("paper", ["paper", "sheet", "well"])
def test_every_ink_is_legible_on_every_paper(theme: int, ink: str, paper: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of at least 4.5 for text."""
    blocks = re.findall(r":root \{(.*?)\}", (ASSETS / "gallery.css").read_text(), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[theme]))
    assert contrast(colours[ink], colours[paper]) >= 4.5
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
    assert contrast(colours["accent"], colours["wash"]) >= 4.5
    assert contrast(colours["strong-line"], colours["paper"]) >= 3


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(NASTY, NASTY), max_size=4))
def test_every_cell_reaches_the_page_as_it_is(texts: list[tuple[str, str]]) -> None:
    cells = [
        Cell(
            key=f"k{n}",
            address=f"x#{n}",
            prompt=prompt,
            axes={"__proto__": label},
            error=label,
            cost_usd=Decimal("0.10"),
        )
        for n, (prompt, label) in enumerate(texts)
    ]
    _, *told = (json.loads(t) for t in decoded(script_of([Run(name="x", cells=cells)])))
    assert [(cell["prompt"], cell["error"], cell["cost"]) for cell in told] == [(p, e, "0.10") for p, e in texts]


def test_an_unknown_state_is_shown_as_it_is(tmp_path: Path) -> None:
    cell = replace(Cell(key="k", address="x#1"), state="on_hold")
    assert "· on hold" in write_gallery(tmp_path, [Run(name="x", cells=[cell])]).read_text()


def test_both_pages_have_a_word_for_every_state() -> None:
    """The plain table and the script say the same of every state of the ledger."""
    block = (ASSETS / "dom.js").read_text().split("const STATES")[1].split("}));")[0]
    words = dict(re.findall(r"^ +(\w+): \['([^']+)'", block, re.MULTILINE))
    assert words == {state: word for state, (_, word) in STATE_WORDS.items()}
    assert set(words) - set(State) == {"planned", "submitted", "running"}
    assert set(State) <= set(words)


def test_what_is_left_out_is_counted(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser does not cope with a million cells; the page says how many more there are."""
    monkeypatch.setattr(cells, "PLACEHOLDERS", 2)
    job = folder.load("version: 1\nrequest: {prompt: 'a {{ a }}'}\nmatrix: {a: {range: [1, 6]}}\n")
    put_on_record(job, history(next(requests_of(job)), State.FAILED))
    record = find_record(job.file, target=TARGET)
    (index,) = build_gallery(record, read_ledger(record, command="gallery"))
    page = index.read_text()
    assert "; 3 more requests that are not sent" in page
    assert page.count("○ planned") == 2
