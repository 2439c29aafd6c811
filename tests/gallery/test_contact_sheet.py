"""The contact sheet: one picture of a run, and what it does when images or room are missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from seedream_jobs.errors import UsageError
from seedream_jobs.results.gallery import contact_sheet as module
from seedream_jobs.results.gallery.cells import GalleryCell as Cell
from seedream_jobs.results.gallery.cells import GalleryRun as Run
from seedream_jobs.results.gallery.contact_sheet import arrange, contact_sheet


def test_every_image_stands_in_its_row_and_column(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    run = make_run(tmp_path)
    sheet = arrange(run.cells)
    assert sheet.heads == ("photo", "ink")
    assert [label for label, _ in sheet.lines][:4] == [
        "a heron · spring",
        "a heron · autumn",
        "a heron · winter",
        "a tabby cat · spring",
    ]
    assert [cell.sha256 and int(cell.sha256, 16) for _, line in sheet.lines for cell in line if cell][:3] == [0, 1, 2]


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_the_picture_shows_the_images_within_its_width(
    tmp_path: Path, make_run: Callable[..., Run], suffix: str
) -> None:
    run = make_run(tmp_path)
    (out,) = contact_sheet(run.cells, tmp_path, tmp_path / "pr" / f"sheet{suffix}", max_width=700)
    with Image.open(out) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 22) or ()}
        assert picture.width <= 700
    if suffix == ".png":
        assert {(0, 90, 200), (221, 90, 47)} <= colours
        assert (3 * 13, 90, 200 - 27) not in colours, "the third request failed: it has no image"


def test_the_same_cells_give_the_same_bytes(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    cells = make_run(tmp_path).cells
    (first,) = contact_sheet(cells, tmp_path, tmp_path / "a.png")
    (second,) = contact_sheet(cells, tmp_path, tmp_path / "b.png")
    assert first.read_bytes() == second.read_bytes()


def test_repeats_stand_side_by_side() -> None:
    cells = [Cell(key=f"{s}{n}", address="x", axes={"s": s}, repeat=n) for s in "ab" for n in (1, 2)]
    sheet = arrange(cells)
    assert sheet.heads == ("a", "", "b", "")
    assert [[cell.repeat if cell else 0 for cell in line] for _, line in sheet.lines] == [[1, 2, 1, 2]]


def test_without_a_short_axis_images_follow_one_another(tmp_path: Path) -> None:
    cells = [Cell(key=str(n), address=f"x#{n}", axes={"prompt": f"猫 {n}"}) for n in range(20)]
    sheet = arrange(cells)
    assert sheet.captions
    assert [cell.key for _, line in sheet.lines for cell in line if cell] == [str(n) for n in range(20)]
    contact_sheet(cells, tmp_path, tmp_path / "sheet.png")


def test_lost_and_damaged_images_are_shown_as_such(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    cells = [Cell(key="1", address="x", image="gone.png"), Cell(key="2", address="y", image="bad.png")]
    assert contact_sheet(cells, tmp_path, tmp_path / "sheet.webp") == [tmp_path / "sheet.webp"]


@pytest.mark.parametrize(("lines", "files"), [(12, 1), (60, 1), (400, 4)])
def test_lines_fold_into_columns_and_then_into_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int, files: int
) -> None:
    """Each image is drawn once, in its order, on pictures within both bounds."""
    monkeypatch.setattr(module, "TALLEST", 3_000)
    cells = [Cell(key=str(n), address="x", axes={"s": f"s{n // 2}", "t": "ab"[n % 2]}) for n in range(2 * lines)]
    drawn: list[str] = []
    found = module.draw_sheets(arrange(cells), lambda cell, _: drawn.append(cell.key), tmp_path / "sheet.png")
    assert [file.name for file in found] == ["sheet.png", "sheet-2.png", "sheet-3.png", "sheet-4.png"][:files]
    assert drawn == [cell.key for cell in cells]
    for file in found:
        with Image.open(file) as picture:
            assert picture.width <= 1_600
            assert picture.height <= 3_000


def test_no_size_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that has room for nothing still has one line, and slots that can be seen."""
    monkeypatch.setattr(module, "TALLEST", 50)
    cells = [Cell(key=f"{n}", address="x", axes={"s": f"s{n // 8}", "t": str(n % 8)}) for n in range(24)]
    assert len(contact_sheet(cells, tmp_path, tmp_path / "sheet.png", max_width=1)) == 3


def test_refusals_name_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to put"):
        contact_sheet([], tmp_path, tmp_path / "sheet.webp")
    with pytest.raises(UsageError, match=r"\.webp or \.png"):
        contact_sheet([Cell(key="k", address="a")], tmp_path, tmp_path / "sheet.gif")
    with pytest.raises(ValueError, match="relative"):
        contact_sheet([Cell(key="k", address="a", image="/etc/x.png")], tmp_path, tmp_path / "sheet.webp")
    assert list(tmp_path.iterdir()) == []
