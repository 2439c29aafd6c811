"""The files of a gallery: what they hold, and what they can't be made to hold."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seedream_jobs.errors import UsageError
from seedream_jobs.ledger.state import Image, State, Stored
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
from tests.campaign import NOW, TARGET, Folder, history, requests_of
from tests.campaign import record as put_on_record
from tests.lanes import examples

ASSETS = Path(page.__file__).parent / "assets"
NASTY = st.text(st.sampled_from("<>/!-'\"\\&`${}\n\r\u2028\u2029\ufeff\x00\x7f\ud800é猫scriptSCRIPT"), max_size=40)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def script_of(runs: list[Run]) -> str:
    return data_script(runs, page_axes(runs), title="t")


def decoded(script: str) -> dict[str, Any]:
    """The string literals of a data script by name, as ``JSON.parse`` reads them."""
    found = re.findall(r"(\w+): '((?:[^'\\]|\\\\)*)'", script.split("\n", 1)[1])
    return {name: json.loads(text.replace("\\\\", "\\")) for name, text in found}


def reader(data: dict[str, Any], column: Any) -> Callable[[int], Any]:
    """What ``assets/columns.js`` does with a column."""
    axes = data["header"]["axes"]
    nulls = set(column.get("null", ()))
    parts = [reader(data, part) for part in column.get("parts", ())]

    def at(axis: int, n: int) -> int:
        place = data["place"][axis]
        return int(place["list"][n] if "list" in place else n // place["every"] % place["of"])

    def plain(n: int) -> Any:
        if "all" in column:
            return column["all"]
        if "axis" in column:
            return column["of"][at(column["axis"], n) + 1]
        if "cells" in column:
            return dict(zip(column["cells"], column["of"], strict=True)).get(n)
        if "clauses" in column:
            return "".join(column["clauses"][number] for number in column["at"][n])
        if "at" in column:
            return column["of"][column["at"][n]]
        if "hex" in column:
            packed = column["hex"][n * 43 : n * 43 + 43]
            return column["after"] + base64.b64decode(packed + "=").hex()
        if parts:
            return "".join(part(n) for part in parts)
        return (column["list"] if "list" in column else column["lines"].split("\n"))[n]

    def read(n: int) -> Any:
        if n in nulls:
            return None
        value = plain(n)
        if not column.get("marks"):
            return value

        def unmark(found: re.Match[str]) -> str:
            code = ord(found[0])
            if code == 0xE1FF:
                return str(reader(data, data["sha256"])(n))
            spelt = axes[code & 0xFF]["slugs" if code >= 0xE100 else "values"]
            return str(spelt[at(code & 0xFF, n)])

        return re.sub("[\ue000-\ue1ff]", unmark, value)

    return read


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
    payload = decoded(script_of([make_run(tmp_path)]))["payload"]
    assert payload == [["model", {"all": "m"}], ["size", {"all": "16:9"}], ["n", {"all": 1}]]


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
    data = decoded(script_of(runs))
    assert [(a["name"], a["values"]) for a in data["header"]["axes"]] == [
        ("x", ["1", "2", "3", "4"]),
        ("y", ["p"]),
        ("repeat", ["1", "2"]),
        ("image", ["1", "2", "3"]),
        ("run", ["one", "two"]),
    ]
    places = [place.get("list", [0, 1]) for place in data["place"]]
    assert list(zip(*places, strict=True)) == [(2, 0, 0, 0, 0), (-1, -1, 1, 2, 1)]


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
    assert len(text.splitlines()) < 360


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
    pairs = re.findall(
        r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", (ASSETS / "gallery.css").read_text()
    )
    colours = {name: both[theme] for name, *both in pairs}
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
    data = decoded(script_of([Run(name="x", cells=cells)]))
    for name, values in {
        "prompt": [prompt for prompt, _ in texts],
        "error": [label for _, label in texts],
        "cost": ["0.1"] * len(texts),
        "address": [f"x#{n}" for n in range(len(texts))],
    }.items():
        assert [reader(data, data[name])(n) for n in range(len(texts))] == values if texts else name not in data


LABELS = st.sampled_from(["a heron", "a-heron", "in", "ink", "16:9", "é", "\ue000", "\n", "1"])
TEXTS = st.lists(st.sampled_from([", ", ". ", "/", "a heron", "a-heron", "ink", "\n", "\ue1ff", "f" * 64, "猫，", "x"]))


@settings(max_examples=examples(80), suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(LABELS, st.none() | LABELS, st.none() | TEXTS.map("".join), st.none() | st.sampled_from("ef")))
)
def test_every_column_reads_back(rows: list[tuple[str, str | None, str | None, str | None]]) -> None:
    """Whatever the form of a column, each cell has the value that it was given."""
    cells = [
        Cell(
            key=f"v1:{n:064x}",
            address=f"x/{a}",
            axes={"a": a} if b is None else {"a": a, "b": b},
            prompt=text or "",
            task_id=text,
            sha256=None if sha is None else sha * 64,
            width=None if b is None else len(b),
            payload={"n": 1, "seed": n % 3, **({"flag": True} if sha else {})},
        )
        for n, (a, b, text, sha) in enumerate(rows)
    ]
    data = decoded(script_of([Run(name="x", cells=cells)]))
    names = {"key": "key", "address": "address", "prompt": "prompt", "task": "task_id", "sha256": "sha256"}
    for name, field in {**names, "width": "width"}.items():
        read = reader(data, data.get(name, {"all": None}))
        assert [read(n) for n in range(len(cells))] == [getattr(cell, field) for cell in cells]
    for name, column in data["payload"]:
        read = reader(data, column)
        assert [read(n) for n in range(len(cells))] == [cell.payload.get(name) for cell in cells]


def test_twenty_thousand_cells_are_five_megabytes() -> None:
    """Prompts as long as people write them, in five axes: a browser reads them at once, a forge takes them."""
    sizes = ("16:9", "1:1", "3:4", "9:16", "4:3")
    values = [
        [f"subject {n}" for n in range(50)],
        ["spring", "summer"],
        ["dawn", "dusk"],
        [f"style {n}" for n in range(20)],
    ]
    cells = []
    for n, at in enumerate(product(*values, sizes)):
        sha = hashlib.sha256(str(n).encode()).hexdigest()
        cells.append(
            Cell(
                key=f"v1:{sha[::-1]}",
                address=f"big/{','.join(at)}#1".replace(" ", "-").replace(":", "-"),
                axes=dict(zip(("subject", "season", "light", "style", "size"), at, strict=True)),
                state="stored",
                prompt=f"{at[0]} in a garden, {at[1]}, {at[2]}. {'Shallow depth of field, muted greens. ' * 6} {at[3]}",
                payload={"model": "m", "size": at[4], "seed": n},
                image=f"out/{n}-{'-'.join(at).replace(' ', '-').replace(':', '-')}.webp",
                thumbnail=f"thumbnails/{sha}.webp",
                sha256=sha,
                task_id=f"task_{sha[:26]}",
                submitted_at=1_785_665_472 + n,
            )
        )
    assert len(cells) == 20_000
    assert len(script_of([Run(name="big", cells=cells)])) < 5_000_000


def test_an_unknown_state_is_shown_as_it_is(tmp_path: Path) -> None:
    cell = replace(Cell(key="k", address="x#1"), state="on_hold")
    assert "· on hold" in write_gallery(tmp_path, [Run(name="x", cells=[cell])]).read_text()


def test_both_pages_have_a_word_for_every_state() -> None:
    """The plain table and the script say the same of every state of the ledger."""
    block = (ASSETS / "dom.js").read_text().split("const STATES")[1].split("}));")[0]
    words = dict(re.findall(r"^ +(\w+): \['([^']+)'", block, re.MULTILINE))
    assert words == {state: word for state, (_, word) in STATE_WORDS.items()}
    assert set(words) - set(State) == {"planned", "submitted", "running", "not_delivered"}
    assert set(State) <= set(words)


def test_what_is_left_out_is_counted(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser does not cope with a million cells; the page says how many more there are."""
    monkeypatch.setattr(cells, "PLACEHOLDERS", 2)
    job = folder.load("version: 1\nrequest: {prompt: 'a {{ a }}'}\nmatrix: {a: {range: [1, 6]}}\n")
    put_on_record(job, history(next(requests_of(job)), State.FAILED))
    record = find_record(job.file, target=TARGET)
    (index,) = build_gallery([(record, read_ledger(record, command="gallery"))])
    page = index.read_text()
    assert "; 3 more requests that are not sent" in page
    assert page.count("○ planned") == 2


def test_every_word_of_the_page_is_there_in_chinese() -> None:
    """What the scripts say has a translation, and no translation is left of what they say no more."""
    text = (ASSETS / "messages-zh.js").read_text()
    told = {a or b for a, b in re.findall(r"^    (?:'([^']+)'|(\w+)): '", text, re.MULTILINE)}
    scripts = "".join((ASSETS / f"{name}.js").read_text() for name in page.SCRIPTS if not name.startswith("messages"))
    quoted = set(re.findall(r"'((?:[^'\\\n]|\\.)*)'", scripts))
    said = set(re.findall(r"G\.t\('([^']+)'", scripts)) | {
        word for pair in re.findall(r"G\.count\([^']*'([^']*)', '([^']*)'\)", scripts) for word in pair
    }
    assert said - told == set()
    assert told - quoted - {word for word in told if re.search(rf"\b{re.escape(word)}: ", scripts)} == set()


def test_what_was_not_delivered_is_no_tick(folder: Folder) -> None:
    """A slot of a stored group without its image says so; what was charged and what is reserved stand apart."""
    job = folder.load("version: 1\nrequest: {prompt: 'a {{ a }}', n: 2}\nmatrix: {a: [1, 2]}\n")
    first, second = requests_of(job)
    kept = Image(file="out/a.jpg", sha256="ab" * 32, bytes=10, width=1, height=1, format="jpeg")
    stored = Stored(key=first.key, at=NOW, images=(kept, Image(error="the service delivered no image")))
    put_on_record(job, [*history(first, State.COMPLETED), stored, *history(second, State.ACCEPTED)])
    record = find_record(job.file, target=TARGET)
    index, *_ = build_gallery([(record, read_ledger(record, command="gallery"))])
    data = decoded((index.parent / "data.js").read_text())
    states = [reader(data, data["state"])(n) for n in range(data["header"]["count"])]
    assert states == ["stored", "not_delivered", "accepted"]
    run = data["header"]["runs"][0]
    assert (run["charged_usd"], run["reserved_usd"]) == ("0.0228", "0.0456")
