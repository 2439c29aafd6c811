"""Several runs on one page: jobs, generations, earlier prompts, two revisions; real repositories and a browser."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.plans.load import load_job
from tests.campaign import TARGET
from tests.gallery.test_writing import decoded, reader
from tests.review.conftest import GARDEN, Campaign
from tests.review.test_compare import make

Command = Callable[..., Any]


def shade(request: Any, turn: int = 0) -> tuple[int, int, int]:
    """A colour that belongs to a request of whatever job."""
    digest = hashlib.sha256(f"{request.address.partition('/')[2]}{turn}".encode()).digest()
    return digest[0], digest[1], digest[2]


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    """A repository with one job of four requests and their images, committed on ``main``; the current folder."""
    folder = tmp_path / "campaign"
    folder.mkdir()
    made = Campaign(folder)
    made.git("init", "-q", "-b", "main")
    made.write("garden.yaml", GARDEN)
    made.write(".gitignore", "gallery*/\n.seedream/\nsheets/\n")
    make(made, shade)
    made.commit("a garden")
    monkeypatch.chdir(folder)
    return made


def values(folder: Path, *names: str) -> list[tuple[Any, ...]]:
    """The page's data: for each cell its values in these columns."""
    data = decoded((folder / "data.js").read_text())
    count = data["header"]["count"]
    columns = [reader(data, data[name]) if name in data else (lambda _: None) for name in names]
    return [tuple(column(n) for column in columns) for n in range(count)]


def header(folder: Path) -> Any:
    return decoded((folder / "data.js").read_text())["header"]


def test_two_jobs_on_one_page(repo: Campaign, command: Command) -> None:
    """Held against each other request by request, in a folder of their own; the jobs' own pages stay."""
    repo.write("sepia.yaml", GARDEN.replace("ink painting", "sepia ink").replace("out/garden", "out/sepia"))
    make(repo, lambda one: shade(one, int("heron" in one.address)), "sepia.yaml")
    assert command("gallery", "garden.yaml").code == 0
    own = (repo.folder / "out/garden/gallery/data.js").read_bytes()
    ended = command("gallery", "garden.yaml", "sepia.yaml")
    page = repo.folder / "out/garden+sepia/gallery"
    assert (ended.code, ended.out.strip()) == (0, str(page / "index.html"))
    assert (repo.folder / "out/garden/gallery/data.js").read_bytes() == own
    assert [run["title"] for run in header(page)["runs"]] == ["garden", "sepia"]
    cells = values(page, "run", "address", "change", "pair")
    assert Counter((run, change) for run, _, change, _ in cells) == {
        (run, change): n for run in (0, 1) for change, n in (("new request", 2), ("new image", 1), ("equal", 1))
    }
    for number, (run, address, _, pair) in enumerate(cells):
        other = cells[pair]
        assert (other[0], other[3], other[1].partition("/")[2]) == (1 - run, number, address.partition("/")[2])
    # Twice the same job is one, by its record too; three jobs are shown and not held against each other.
    assert (
        command("gallery", "garden.yaml", "garden.manifest.jsonl").out.strip().endswith("out/garden/gallery/index.html")
    )
    repo.write("third.yaml", GARDEN.replace("out/garden", "out/third"))
    make(repo, shade, "third.yaml")
    assert command("gallery", "garden.yaml", "sepia.yaml", "third.yaml", "--out", "all").code == 0
    assert {change for (change,) in values(repo.folder / "all", "change")} == {None}
    assert command("gallery", "garden.yaml", "sepia.yaml", "--out", "out/garden/gallery").code == 2


def test_two_jobs_in_the_browser(repo: Campaign, command: Command, page: Any) -> None:
    """The words of ``compare`` are counted in requests, and filter."""
    repo.write("sepia.yaml", GARDEN.replace("ink painting", "sepia ink").replace("out/garden", "out/sepia"))
    make(repo, shade, "sepia.yaml")
    command("gallery", "garden.yaml", "sepia.yaml")
    page.open(repo.folder / "out/garden+sepia/gallery/index.html")
    assert "2 new requests · 2 equal" in page.one("#summary").text
    assert Counter(page.texts(".differs")) == {"new request": 4}
    page.one("#filter").click()
    chips = page.texts('[data-filter^="Between runs="]')
    assert chips == ["new request2", "equal2"]
    page.one('[data-filter="Between runs=equal"]').click()
    assert page.run("return Gallery.app.passing.length") == 4
    page.one('[data-filter="Between runs=equal"]').click()
    page.one('[data-filter="Between runs=new request"]').click()
    page.one(".open").click()
    assert set(page.texts(".prompt-change del")) == {"ink", "painting"}
    assert set(page.texts(".prompt-change ins")) == {"sepia", "ink"}
    page.press_button("Compare runs")
    assert page.texts(".pane .where") == ["run: garden", "run: sepia"]


def test_generations_stand_side_by_side(repo: Campaign, command: Command, page: Any) -> None:
    """The present one first, each with when and what it cost; the sum is what the record was charged."""
    heron = "garden/subject=a-heron,style=ink#1"
    for generation in (2, 3):
        make(repo, lambda one, g=generation: shade(one, g) if one.address == heron else None, generation=generation)
    assert command("gallery", "garden.yaml").code == 0
    folder = repo.folder / "out/garden/gallery"
    cells = values(folder, "address", "earlier", "cost", "submitted", "sha256")
    ours = [cell for cell in cells if cell[0] == heron]
    assert [earlier for _, earlier, *_ in ours] == [None, 2, 1]
    assert len({sha256 for *_, sha256 in ours}) == 3
    assert all(submitted for *_, submitted, _ in ours)
    job = load_job(repo.folder / "garden.yaml", shown="garden.yaml", target=TARGET, sets={})
    ledger = Ledger.peek(job.paths, root=repo.folder)
    charged = sum((a.cost_usd or Decimal(0) for e in ledger.entries.values() for a in e.attempts), start=Decimal(0))
    assert (
        sum(Decimal(cost) for _, _, cost, *_ in cells) == charged == Decimal(header(folder)["runs"][0]["charged_usd"])
    )
    assert [axis["values"] for axis in header(folder)["axes"] if axis["kind"] == "generation"] == [["3", "2", "1"]]
    page.open(folder / "index.html")
    assert page.one("#summary").text.startswith("6 images of 4 requests")
    slot = next(one for one in page.all(".slot") if len(one.find_elements("css selector", ".thumb")) == 3)
    said = [one.get_attribute("aria-label") for one in slot.find_elements("css selector", ".open")]
    assert ["earlier" in text for text in said] == [False, True, True]
    assert [f"generation: {n}" in text for n, text in zip((3, 2, 1), said, strict=True)] == [True] * 3
    slot.find_element("css selector", ".open").click()
    page.press_button("Compare generations")
    where = page.texts(".pane .where")
    assert [text.partition(" ·")[0] for text in where] == ["generation: 3", "generation: 2", "generation: 1"]
    assert all("2026-08-02 12:00:00 UTC" in text and "USD" in text for text in where)
    # A link to an earlier one opens it.
    page.open(f"{(folder / 'index.html').as_uri()}#open=garden%2Fsubject%3Da-heron%2Cstyle%3Dink%231%5E2")
    assert page.run("return Gallery.app.opened.earlier") == 2


def test_images_of_earlier_prompts(repo: Campaign, command: Command, page: Any) -> None:
    """The page says how many there are; the option shows them with their old prompts, and those without a successor."""
    repo.edit("garden.yaml", "ink painting", "loose ink painting")
    repo.edit("garden.yaml", "[a heron, a tabby cat]", "[a heron]")
    assert command("gallery", "garden.yaml").code == 0
    folder = repo.folder / "out/garden/gallery"
    assert header(folder)["runs"][0]["orphans"] == 3
    assert (
        "3 images that the job file no longer makes are shown by gallery --with-orphans"
        in (folder / "index.html").read_text()
    )
    page.open(folder / "index.html")
    assert "3 images that the job no longer makes: gallery --with-orphans" in page.one("#summary").text
    assert len(page.all(".thumb")) == 2
    assert command("gallery", "garden.yaml", "--with-orphans").code == 0
    assert [run["title"] for run in header(folder)["runs"]] == ["earlier prompts", "now"]
    assert sum(Decimal(run["charged_usd"]) for run in header(folder)["runs"]) == Decimal("0.0912")
    cells = {(run, address): change for run, address, change in values(folder, "run", "address", "change")}
    assert cells == {
        (0, "garden/subject=a-heron,style=ink#1"): "new request",
        (0, "garden/subject=a-tabby-cat,style=photo#1"): "gone",
        (0, "garden/subject=a-tabby-cat,style=ink#1"): "gone",
        (1, "garden/subject=a-heron,style=photo#1"): None,
        (1, "garden/subject=a-heron,style=ink#1"): "new request",
    }
    page.open(f"{(folder / 'index.html').as_uri()}#open=garden%2Fsubject%3Da-heron%2Cstyle%3Dink%231%402")
    change = page.one(".prompt-change")
    assert "before → now" in change.text
    assert [one.text.strip() for one in change.find_elements("css selector", "ins")] == ["loose"]
    assert change.find_elements("css selector", "del") == []
    # An own page again, and without an orphan the option changes nothing.
    assert command("gallery", "garden.yaml").code == 0
    repo.write("garden.yaml", GARDEN)
    plain = command("gallery", "garden.yaml").code, (folder / "data.js").read_bytes()
    assert header(folder)["runs"] == [{"name": "garden", "title": "garden", "charged_usd": "0.0912"}]
    assert command("gallery", "garden.yaml", "--with-orphans").code == plain[0] == 0
    assert len(header(folder)["runs"]) == 1


@pytest.fixture
def changed(repo: Campaign) -> Campaign:
    """On a branch: an image made again and the old file removed, a prompt edited, a value gained and one dropped."""
    repo.git("checkout", "-q", "-b", "change")
    photo = "garden/subject=a-heron,style=photo#1"
    make(repo, lambda one: shade(one, 2) if one.address == photo else None, generation=2)
    (repo.folder / "out/garden/a-heron-photo.png").unlink(missing_ok=True)
    repo.edit("garden.yaml", "ink painting", "loose ink painting")
    repo.edit("garden.yaml", "[a heron, a tabby cat]", "[a heron, an owl]")
    make(repo, lambda one: shade(one, 1) if "ink" in one.address and "heron" in one.address else None)
    return repo


CHANGED = {
    (0, "garden/subject=a-heron,style=photo#1"): "new image",
    (0, "garden/subject=a-heron,style=ink#1"): "new request",
    (0, "garden/subject=a-tabby-cat,style=photo#1"): "gone",
    (0, "garden/subject=a-tabby-cat,style=ink#1"): "gone",
    (1, "garden/subject=a-heron,style=photo#1"): "new image",
    (1, "garden/subject=a-heron,style=ink#1"): "new request",
    (1, "garden/subject=an-owl,style=photo#1"): "new request",
    (1, "garden/subject=an-owl,style=ink#1"): "new request",
}


def pixel(file: Path) -> tuple[int, ...]:
    with Pillow.open(file) as image:
        found = image.convert("RGB").getpixel((5, 5))
    assert isinstance(found, tuple)
    return found


def test_two_revisions_on_one_page(changed: Campaign, command: Command) -> None:
    """Each address has the word that ``compare`` has for it; the base's images are there, wherever they are found."""
    was = {
        line["address"]: line["images"][0]
        for line in map(json.loads, (changed.git("show", "main:garden.manifest.jsonl")).splitlines())
        if line.get("images")
    }
    shutil.rmtree(changed.folder / "out/garden")
    ended = command("gallery", "garden.yaml", "--base", "main")
    folder = changed.folder / "out/garden/gallery-base"
    assert (ended.code, ended.out.strip()) == (0, str(folder / "index.html")), ended.err
    assert [run["title"] for run in header(folder)["runs"]] == ["main", "work tree"]
    cells = values(folder, "run", "address", "change", "image", "thumbnail", "sha256")
    assert {(run, address): change for run, address, change, *_ in cells} == CHANGED
    for run, address, _, image, thumbnail, sha256 in cells:
        if run == 0:
            assert sha256 == was[address]["sha256"]
            assert hashlib.sha256((folder / image).read_bytes()).hexdigest() == sha256
            assert (folder / image).parent == folder / "images"
            assert thumbnail == f"thumbnails/{sha256}.webp"
            red, green, blue = pixel(folder / image)
            assert all(abs(a - b) < 12 for a, b in zip(pixel(folder / thumbnail), (red, green, blue), strict=True))
    # The command is repeatable; what an earlier page had and this one has not goes.
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    stale = folder / "images" / ("0" * 64 + ".png")
    stale.write_bytes(b"old")
    assert command("gallery", "garden.yaml", "--base", "main").code == 0
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    # It is not the job's own page, nor written over that.
    assert command("gallery", "garden.yaml").code == 0
    refused = command("gallery", "garden.yaml", "--base", "main", "--out", "out/garden/gallery")
    assert (refused.code, "has the page of garden.manifest.jsonl" in refused.err) == (2, True)


def test_a_picture_that_is_not_the_recorded_one_is_not_shown(changed: Campaign, command: Command) -> None:
    """Other bytes under the name of the base's image are no image of the base: the commit's are taken."""
    line = next(
        line
        for line in map(json.loads, changed.git("show", "main:garden.manifest.jsonl").splitlines())
        if line.get("address") == "garden/subject=a-tabby-cat,style=ink#1"
    )
    changed.write(line["images"][0]["file"], b"something else")
    assert command("gallery", "garden.yaml", "--base", "main").code == 0
    folder = changed.folder / "out/garden/gallery-base"
    cells = {(run, a): image for run, a, image in values(folder, "run", "address", "image")}
    shown = (folder / cells[0, line["address"]]).read_bytes()
    assert hashlib.sha256(shown).hexdigest() == line["images"][0]["sha256"]


def test_two_revisions_in_the_browser(changed: Campaign, command: Command, page: Any) -> None:
    """The counts are those of ``compare``, the words filter, and a link of the comment opens the image it names."""
    said = command("compare", "garden.yaml", "--base", "main").out
    assert "1 new image, 3 new requests, 2 gone; 0 equal" in said
    url = "https://example.org/page"
    options = ("--base", "main", "--page", "sheets/page", "--format", "markdown")
    assert "`sheets/page/index.html`" in command("compare", "garden.yaml", *options).out
    comment = command("compare", "garden.yaml", *options, "--page-url", f"{url}/").out
    index = changed.folder / "sheets/page/index.html"
    links = re.findall(r"\[`([^`]+)`\]\(https://example.org/page/index.html(#[^)]+)\)", comment)
    assert len(links) == 6
    for address, fragment in links:
        page.open(index.as_uri() + fragment)
        opened = page.run("const {address, run} = Gallery.app.opened; return [run, address]")
        assert opened == [int("tabby" not in address), address]
        loaded = page.run("return document.querySelector('.stage img') !== null")
        assert loaded is ("owl" not in address)
        if loaded:
            page.until("document.querySelector('.stage img').naturalWidth === 48")
    (whole,) = re.findall(r"\]\(https://example.org/page/index.html(#between[^)]+)\)", comment)
    page.open(index.as_uri() + whole)
    assert page.run("return Gallery.app.passing.length") == 8
    assert "1 new image · 3 new requests · 2 gone" in page.one("#summary").text
    page.one("#filter").click()
    assert page.texts('[data-filter^="Between runs="]') == ["new image1", "new request3", "gone2"]
    for word in ("new image", "new request"):
        page.one(f'[data-filter="Between runs={word}"]').click()
    assert page.run("return Gallery.app.passing.map((cell) => cell.change)") == ["gone", "gone"]
    # One road: gallery --base writes the same page.
    assert command("gallery", "garden.yaml", "--base", "main", "--out", "sheets/other").code == 0
    both = [changed.folder / "sheets" / name / "data.js" for name in ("page", "other")]
    assert both[0].read_bytes() == both[1].read_bytes()


def test_what_is_equal_is_counted_once(repo: Campaign, command: Command, page: Any) -> None:
    assert command("gallery", "garden.yaml", "--base", "main").code == 0
    folder = repo.folder / "out/garden/gallery-base"
    page.open(folder / "index.html")
    assert "4 equal" in page.one("#summary").text
    assert not (folder / "images").exists()
    page.until("[...document.querySelectorAll('.thumb img')].filter((one) => one.naturalWidth === 48).length === 8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gallery", "garden.yaml", "--base", "nowhere"), "unknown revision 'nowhere'"),
        (("gallery", "garden.yaml", "--base", "main", "--emulator"), "--base goes without"),
        (("gallery", "garden.yaml", "--base", "main", "--with-orphans"), "--base goes without"),
        (("gallery", "gone.yaml", "--base", "main"), "gone.yaml is neither in"),
        (("compare", "garden.yaml", "--base", "main", "--page-url", "https://x.org"), "--page-url needs --page"),
        (("compare", "garden.yaml", "--base", "main", "--page", "p", "--page-url", "x.org/)"), "no URL"),
    ],
)
def test_what_is_refused_writes_nothing(repo: Campaign, command: Command, words: tuple[str, ...], said: str) -> None:
    ended = command(*words)
    assert (ended.code, said in ended.err) == (2, True), ended.err
    assert repo.git("status", "--porcelain") == ""


def test_jobs_that_came_and_went(repo: Campaign, command: Command) -> None:
    """A job that the base has not, and one that was removed: one page, each with its word."""
    repo.git("checkout", "-q", "-b", "change")
    repo.git("rm", "-q", "garden.yaml")
    repo.write("sepia.yaml", GARDEN.replace("out/garden", "out/sepia"))
    make(repo, shade, "sepia.yaml")
    repo.commit("another job")
    ended = command("compare", "garden.yaml", "sepia.yaml", "--base", "main", "--head", "HEAD", "--page", "sheets")
    assert ended.code == 0, ended.err
    folder = repo.folder / "sheets"
    assert [run["title"] for run in header(folder)["runs"]] == [
        f"{name} · {rev}" for name in ("garden", "sepia") for rev in ("main", "HEAD")
    ]
    assert Counter(values(folder, "run", "change")) == {(0, "gone"): 4, (3, "new request"): 4}
