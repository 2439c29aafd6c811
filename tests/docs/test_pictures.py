"""The two pictures of the README are of today's program: a session in a terminal, and the gallery that it makes.

``UPDATE_DOCS=1 python3 dev.py test tests/docs/test_pictures.py`` draws anew what is stale, and what was deleted.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import Base

from tests.docs import terminal
from tests.docs.test_readme import job_file

ROOT = Path(__file__).parents[2]
TERMINAL, GALLERY = ROOT / "docs" / "terminal.svg", ROOT / "docs" / "gallery.webp"
UPDATE = bool(os.environ.get("UPDATE_DOCS"))
SESSION = (
    "seedream-jobs plan garden.yaml",
    "seedream-jobs run garden.yaml --emulator",
    "# Another word in the prompt of one style: only what changes is new",
    "sed -i.bak 's/ink painting/ink painting on rice paper/' garden.yaml",
    "seedream-jobs plan garden.yaml --emulator",
)
OPINIONS = {
    "subject: a golden retriever, season: spring, style: photo, size: 16:9": ("5", "s"),
    "subject: a golden retriever, season: autumn, style: ink, size: 16:9": ("4",),
    "subject: a tabby cat, season: spring, style: photo, size: 1:1": ("2", "x"),
    "subject: a tabby cat, season: autumn, style: photo, size: 16:9": ("4", "y"),
}
"""Which keys are pressed at which image."""
ESCAPE = "\ue00c"
HOW = "draw it anew: UPDATE_DOCS=1 python3 dev.py test tests/docs/test_pictures.py"
LIMIT = 150_000
"""Bytes of a picture: the page of the project loads at once."""


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the README's job file."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "garden.yaml").write_text(job_file(), encoding="utf-8")
    return folder


def drawn_from(picture: Path) -> str | None:
    """The digest of the job file that a picture is of."""
    with Image.open(picture) as image:
        digest: str | None = image.getexif().get(Base.ImageDescription)
    return digest


def job_digest() -> str:
    """Says which job file a picture is of."""
    return f"sha256:{hashlib.sha256(job_file().encode()).hexdigest()}"


@pytest.fixture(scope="module")
def session(campaign: Path) -> list[terminal.Frame]:
    """The session as it is today; afterwards the campaign has its rehearsal."""
    return record(SESSION, campaign)


def record(commands: Sequence[str], folder: Path) -> list[terminal.Frame]:
    path = f"{Path(sys.executable).absolute().parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8", "TERM": "xterm-256color"}
    return terminal.record(commands, folder, environment)


def differences(frames: Sequence[terminal.Frame], svg: str) -> list[str]:
    """The lines of settled screens that the picture does not have, with their colours; days and times may differ."""
    had = _without_times(svg)
    lines = dict.fromkeys(line for frame in frames if frame.settled for _, line in frame.lines)
    return [line for line in lines if _without_times(line) not in had]


def _without_times(text: str) -> str:
    text = re.sub(r' (x|textLength)="[0-9.]+"', "", text)
    text = re.sub(r"submitted \d{4}-\d\d-\d\d", "submitted DAY", text)
    return re.sub(r"\d+(\.\d+)?(:\d\d| (s|min|h|images/s|/s)\b|s\b|/s\b)", "TIME", text)


def test_the_terminal_of_the_readme_shows_the_program_of_today(session: list[terminal.Frame]) -> None:
    """What stands on the screen when a command has ended stands in the picture, in its colours."""
    if UPDATE and (not TERMINAL.exists() or differences(session, TERMINAL.read_text("utf-8"))):
        TERMINAL.write_text(terminal.render(session, title="A session of seedream-jobs in a terminal"), "utf-8")
    assert TERMINAL.exists(), HOW
    assert differences(session, TERMINAL.read_text("utf-8")) == [], HOW


def test_another_word_or_colour_is_seen(tmp_path: Path) -> None:
    """Seeded faults for the test above; a day, a duration or a rate is none."""

    def printed(text: str) -> list[terminal.Frame]:
        (tmp_path / "said").write_text(text + "\n", encoding="utf-8")
        return record(["cat said"], tmp_path)

    svg = terminal.render(printed("\033[32m+ 4 new\033[0m submitted 2026-01-02 in 3.5 s"), title="x")
    assert differences(printed("\033[32m+ 4 new\033[0m submitted 2026-01-03 in 12 s"), svg) == []
    for fault in (
        "\033[31m+ 4 new\033[0m submitted 2026-01-02 in 3.5 s",
        "\033[32m+ 5 new\033[0m submitted 2026-01-02 in 3.5 s",
        "\033[32m+ 4 old\033[0m submitted 2026-01-02 in 3.5 s",
        "+ 4 new submitted 2026-01-02 in 3.5 s",
    ):
        assert len(differences(printed(fault), svg)) == 1
    with pytest.raises(ValueError, match="no palette has 123456"):
        printed("\033[38;2;18;52;86m+ 4 new")
    with pytest.raises(RuntimeError, match="exit code 3"):
        record(["exit 3"], tmp_path)


def test_one_recording_makes_the_same_bytes(session: list[terminal.Frame]) -> None:
    """Nothing but the frames decides."""
    assert terminal.render(session, title="x") == terminal.render(list(session), title="x")


def test_the_terminal_is_a_small_picture_and_nothing_else() -> None:
    """No script, no link to elsewhere, no handler; light, dark and without motion."""
    text = TERMINAL.read_text("utf-8")
    assert len(text.encode()) < LIMIT
    root = ElementTree.fromstring(text)
    for element in root.iter():
        assert element.tag.partition("}")[2] in {"svg", "title", "style", "defs", "g", "text", "use", "rect"}
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            assert name != "href" or value.startswith("#")
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme:dark" in text
    assert "prefers-reduced-motion:reduce" in text


def luminance(colour: str) -> float:
    """By WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("palette", [terminal.LIGHT, terminal.DARK], ids=["light", "dark"])
def test_every_colour_is_readable(palette: dict[str, str]) -> None:
    """WCAG AA: 4.5 to 1 against the window."""
    for name, colour in palette.items():
        if name != "back":
            low, high = sorted([luminance(colour), luminance(palette["back"])])
            assert (high + 0.05) / (low + 0.05) >= 4.5, name


def test_a_reader_who_wants_no_motion_gets_the_last_screen(page: Any) -> None:
    """In a real browser: the film runs, and stands still where the reader asks for it."""
    look = "return getComputedStyle(document.getElementById('film')).animationName"
    page.open(TERMINAL)
    assert page.run(look) == "film"
    motion = {"name": "prefers-reduced-motion", "value": "reduce"}
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [motion]})
    try:
        assert page.run(look) == "none"
        top, bottom = page.run(
            "const one = [...document.querySelectorAll('#film > g')].at(-1).getBoundingClientRect();"
            "return [one.top, one.bottom]"
        )
        assert 0 <= top < bottom <= terminal.HEIGHT
    finally:
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.skipif(not UPDATE, reason="draws the picture of the README: UPDATE_DOCS=1")
def test_the_gallery_is_drawn(page: Any, campaign: Path, session: list[terminal.Frame]) -> None:
    """docs/gallery.webp: what the session in the terminal has made, with what somebody thinks of it."""
    if GALLERY.exists() and drawn_from(GALLERY) == job_digest():
        return
    size = page.browser.get_window_size()
    page.browser.set_window_size(1280, 990)
    page.open(campaign / ".seedream/emulator/out/garden/gallery/index.html")
    page.choose("#rows", "season")
    page.choose("#cols", "size")
    page.choose('[data-place="style"]', "groups of columns")
    page.run("Gallery.app.resize(270)")
    for image, keys in OPINIONS.items():
        page.open_image(image)
        for key in (*keys, ESCAPE):
            page.press(key)
    page.until("[...document.images].every((image) => image.complete)")
    with Image.open(io.BytesIO(page.browser.get_screenshot_as_png())) as image:
        exif = Image.Exif()
        exif[Base.ImageDescription] = job_digest()
        image.save(GALLERY, quality=70, method=6, exif=exif)
    page.browser.set_window_size(size["width"], size["height"])


def test_the_gallery_of_the_readme_is_there() -> None:
    """As large as it is drawn, and of the job file that stands below it."""
    assert GALLERY.stat().st_size < LIMIT
    assert drawn_from(GALLERY) == job_digest(), HOW
    with Image.open(GALLERY) as image:
        assert image.size == (1280, 847)
