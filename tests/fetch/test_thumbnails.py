"""Thumbnails from worker processes: by content, small, upright, and no process left behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from seedream_jobs.results import thumbnails
from seedream_jobs.results.processes import start_helper
from seedream_jobs.results.thumbnails import Decoders, decode, thumbnail_path
from tests.canary import CANARY


@pytest.fixture
def file(tmp_path: Path, picture: Callable[..., bytes]) -> Path:
    """A whole image."""
    file = tmp_path / "whole"
    file.write_bytes(picture((1600, 400)))
    return file


def test_a_process_decodes_and_writes_the_thumbnail(tmp_path: Path, picture: Callable[..., bytes]) -> None:
    """The thumbnail lies where its image's content says; an image that breaks off has a problem instead."""
    bodies = [picture((1600, 400)), picture((300, 900), "PNG"), picture((900, 900), "PNG")[:-4000]]
    sizes = []
    with Decoders(2) as decoders:
        for number, body in enumerate(bodies):
            (tmp_path / f"{number}").write_bytes(body)
            thumbnail = thumbnail_path(tmp_path / "cache", f"{number:064x}")
            found = decoders.decode(tmp_path / f"{number}", thumbnail)
            if found.problem is None:
                with Image.open(thumbnail) as image:
                    assert image.format == "WEBP"
                    sizes.append(((found.width, found.height), image.size))
    assert sizes == [((1600, 400), (384, 96)), ((300, 900), (128, 384))]
    assert "decoded" in (found.problem or "")
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 2


def test_a_rotated_photo_stands_upright(tmp_path: Path) -> None:
    """EXIF orientation is applied to the thumbnail; the pixels reported are the file's."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (800, 400)).save(tmp_path / "a.jpeg", exif=exif)
    seen = decode(tmp_path / "a.jpeg", tmp_path / "t.webp")
    assert (seen.width, seen.height) == (800, 400)
    with Image.open(tmp_path / "t.webp") as image:
        assert image.size == (192, 384)
        assert not image.getexif()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "I;16", "CMYK"])
def test_every_colour_mode_has_a_thumbnail(tmp_path: Path, mode: str) -> None:
    """Whatever came is shown."""
    out = tmp_path / "a.img"
    Image.new(mode, (500, 500)).save(out, "JPEG" if mode == "CMYK" else "PNG")
    assert decode(out, tmp_path / "t.webp").problem is None
    with Image.open(tmp_path / "t.webp") as image:
        assert image.size == (384, 384)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_short_is_found_at_thumbnail_size_too(tmp_path: Path, progressive: bool) -> None:
    """Decoding at an eighth of the size still reads the data to its end."""
    out = io.BytesIO()
    Image.effect_noise((1200, 1200), 80).save(out, "JPEG", progressive=progressive)
    (tmp_path / "a.jpeg").write_bytes(out.getvalue()[: len(out.getvalue()) * 9 // 10])
    assert decode(tmp_path / "a.jpeg", tmp_path / "t.webp").problem is not None
    assert not (tmp_path / "t.webp").exists()


def test_a_decoder_that_dies_costs_one_image(file: Path) -> None:
    """A crash is a problem of that image; the next one is decoded by a fresh process."""
    with Decoders(1) as decoders:
        assert decoders.decode(file).problem is None
        (process,) = decoders._all
        os.kill(process.pid, signal.SIGSEGV)
        process.wait()
        assert "stopped" in (decoders.decode(file).problem or "")
        assert decoders.decode(file).problem is None
    assert process.poll() is not None
    assert "stopped" in (decoders.decode(file).problem or ""), "closed is closed"


def limited(monkeypatch: pytest.MonkeyPatch, **limits: int) -> Decoders:
    """One decoder whose limits for an image are these."""
    monkeypatch.setattr(thumbnails, "start_helper", partial(start_helper, **limits))
    return Decoders(1)


def test_an_image_that_takes_too_long_costs_one_image(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A progressive JPEG of 0.1 MB whose last pass over its pixels comes a thousand times would take half a minute."""
    out = io.BytesIO()
    Image.new("L", (3000, 3000)).save(out, "JPEG", progressive=True)
    whole = out.getvalue()
    last = whole[whole.rindex(b"\xff\xda") : -2]
    (tmp_path / "passes.jpeg").write_bytes(whole[:-2] + last * 1000 + whole[-2:])
    with limited(monkeypatch, seconds=1) as decoders:
        assert decoders.decode(file).problem is None
        began = time.monotonic()
        assert "stopped" in (decoders.decode(tmp_path / "passes.jpeg").problem or "")
        assert time.monotonic() - began < 20
        assert decoders.decode(file).problem is None


def test_a_decoder_that_waits_for_ever_costs_one_image(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it waits for: here, a pipe that nobody writes to."""
    os.mkfifo(tmp_path / "pipe")
    with limited(monkeypatch, patience=1) as decoders:
        assert "stopped" in (decoders.decode(tmp_path / "pipe").problem or "")
        assert decoders.decode(file).problem is None
        time.sleep(1.2)  # the time is counted for each image, and not between them
        assert decoders.decode(file).problem is None


def test_an_image_that_takes_too_much_memory_costs_one_image(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PNG of some kilobytes with millions of pixels."""
    Image.new("RGBA", (6000, 6000)).save(tmp_path / "large.png", compress_level=1)
    with limited(monkeypatch, memory=120 << 20) as decoders:
        assert "memory" in (decoders.decode(tmp_path / "large.png").problem or "")
        assert decoders.decode(file).problem is None
    monkeypatch.undo()
    with Decoders(1) as decoders:
        assert decoders.decode(tmp_path / "large.png", tmp_path / "t.webp").problem is None
        assert (tmp_path / "t.webp").exists()


def test_the_key_does_not_reach_the_decoders(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that reads foreign images has no key in its environment, and imports nothing from here."""
    monkeypatch.setenv("APIMART_API_KEY", CANARY)
    with Decoders(1) as decoders:
        assert decoders.decode(file).problem is None
        (process,) = decoders._all
        environment = Path(f"/proc/{process.pid}/environ")
        if environment.exists():
            assert b"APIMART_API_KEY" not in environment.read_bytes()


def test_a_module_in_the_working_folder_is_not_imported(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A campaign's folder may hold a ``PIL`` or ``json`` of its own; it is data, not code."""
    (tmp_path / "json.py").write_text("raise SystemExit")
    (tmp_path / "PIL.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    with Decoders(1) as decoders:
        assert decoders.decode(file).problem is None


def test_the_processes_end_with_their_parent(tmp_path: Path, picture: Callable[..., bytes]) -> None:
    """kill -9 of the parent closes their stdin, and they go."""
    (tmp_path / "a").write_bytes(picture((64, 64)))
    program = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from seedream_jobs.results.thumbnails import Decoders
        decoders = Decoders(1)
        decoders.decode(Path({str(tmp_path / "a")!r}))
        print([process.pid for process in decoders._all][0], flush=True)
        time.sleep(60)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(200):
        if not _alive(child):
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the decoder outlived its parent")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")
