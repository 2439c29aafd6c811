"""Local reference images: confined to the campaign, checked by their content, each with a real file."""

from __future__ import annotations

import base64
import io
import os
import struct
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from PIL import Image

from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.expand import references
from seedream_jobs.expand.references import ReferenceProblem, References, data_uri
from seedream_jobs.image_header import read_header
from seedream_jobs.job.files import WorkTree
from seedream_jobs.model_profile import DEFAULT_MODEL, profiles
from tests.campaign import Folder

LIMITS = profiles()[DEFAULT_MODEL].references


def picture(width: int, height: int, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("L" if width * height > 10**6 else "RGB", (width, height), 128).save(out, form, **options)
    return out.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG's head and end alone: what is checked, without thirty-six million pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return head + b"\0\0\0\0IEND\xae\x42\x60\x82"


@pytest.fixture
def look(tmp_path: Path) -> Any:
    def looked(data: bytes, name: str = "a.png") -> Any:
        (tmp_path / name).write_bytes(data)
        return References(WorkTree(tmp_path), PurePosixPath(), LIMITS).look(name)

    return looked


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (picture(15, 15), "png"),
        (picture(15, 15, "JPEG"), "jpeg"),
        (picture(40, 20, "JPEG", progressive=True), "jpeg"),
        (picture(40, 20, "JPEG", exif=b"Exif\0\0" + b"x" * 4000), "jpeg"),
        (picture(45, 15), "png"),
        (picture(15, 45), "png"),
        (png_of(6000, 6000), "png"),
        (picture(20, 20) + b"\0" * (10 * 1024 * 1024 - len(picture(20, 20))), "png"),
    ],
)
def test_accepted(look: Any, data: bytes, form: str) -> None:
    """At the bounds, which are inclusive for ratio, pixels and bytes; the name's ending does not count."""
    reference = look(data, "misnamed.gif")
    assert (reference.format, reference.bytes) == (form, len(data))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (picture(14, 20), "14×20 pixels: each side must exceed 14"),
        (picture(46, 15), "width / height must be from 1/3 to 3"),
        (picture(15, 46), "width / height must be from 1/3 to 3"),
        (png_of(6001, 6000), "6001×6000 pixels: at most 36,000,000"),
        (png_of(0, 1), "no JPEG or PNG"),
        (picture(20, 20) + b"\0" * (10 * 1024 * 1024), "larger than 10 MiB"),
        (picture(20, 20, "GIF"), "no JPEG or PNG"),
        (picture(20, 20, "WEBP"), "no JPEG or PNG"),
        (b"", "no JPEG or PNG"),
        (b"\xff\xd8\xff", "no JPEG or PNG"),
        (picture(20, 20, "JPEG")[:30], "no JPEG or PNG"),
        *((picture(60, 40, form)[:cut], "cut short") for form in ("JPEG", "PNG") for cut in (-1, -2, -5, -13)),
        (picture(60, 40, "JPEG", exif=b"Exif\0\0" + picture(20, 20, "JPEG"))[:-2], "cut short"),
        (picture(60, 40, "JPEG", progressive=True)[:-30], "cut short"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
    ],
)
def test_refused(look: Any, data: bytes, said: str) -> None:
    """What the service would refuse is found before anything is sent."""
    with pytest.raises(ReferenceProblem) as caught:
        look(data)
    assert said in caught.value.message


def test_what_is_known_of_references_is_small(look: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No image is kept, good or bad, and no data URI; beyond so many references some are read again."""
    monkeypatch.setattr(references, "MAX_KNOWN", 3)
    known = References(WorkTree(tmp_path), PurePosixPath(), LIMITS)
    bad = "data:image/png;base64," + "A" * 4_000_000
    for _ in range(2):
        with pytest.raises(ReferenceProblem, match="no JPEG or PNG image"):
            known.look(bad)
    assert [len(key) for key in known._known] == [32]
    assert not any(isinstance(found, BaseException) for found in known._known.values()), "its frames hold the image"
    for number in range(9):
        with pytest.raises(ReferenceProblem, match="there is no reference image"):
            known.look(f"{number}.png")
        assert len(known._known) <= 3


@pytest.mark.parametrize("form", ["PNG", "JPEG", "MPO"])
def test_header(form: str) -> None:
    """Format and pixels; a phone's JPEG that holds a second picture is a JPEG."""
    second = {"save_all": True, "append_images": [Image.new("RGB", (8, 8))]} if form == "MPO" else {}
    header = read_header(picture(33, 20, form, **second))
    assert header is not None
    assert not header.is_cut_short
    assert (header.width, header.height, header.format) == (33, 20, "png" if form == "PNG" else "jpeg")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("../outside.png", "outside the campaign's folder"),
        ("refs/../../outside.png", "outside the campaign's folder"),
        ("/etc/passwd", "outside the campaign's folder"),
        ("link.png", "outside the campaign's folder"),
        ("linked/outside.png", "outside the campaign's folder"),
        ("refs", "is a folder"),
        ("none.png", "there is no reference image"),
        ("pipe.png", "can't be read"),
        ("data:image/png;base64,AAAA", "no JPEG or PNG"),
        ("data:image/png;base64,A", "no valid base64"),
    ],
)
def test_confined(folder: Any, url: str, said: str) -> None:
    """No path leaves the campaign: not by "..", not absolute, not through a link."""
    outside = folder.path.parent / "outside.png"
    outside.write_bytes(picture(20, 20))
    (folder.path / "link.png").symlink_to(outside)
    (folder.path / "linked").symlink_to(folder.path.parent, target_is_directory=True)
    (folder.path / "refs").mkdir()
    os.mkfifo(folder.path / "pipe.png")
    with pytest.raises(FindingsError) as caught:
        folder.expand(f"request: {{prompt: p, image_urls: ['{url}']}}")
    (finding,) = caught.value.diagnostics
    assert finding.code == "reference-image"
    assert said in finding.message


def test_finding_stands_at_the_axis_value(folder: Any) -> None:
    """A bad image of an axis is pointed at where the axis names it."""
    folder.write("good.png", picture(20, 20))
    folder.write("bad.png", b"no")
    with pytest.raises(FindingsError) as caught:
        folder.expand("request: {prompt: p}\nmatrix:\n  image_urls:\n    - good.png\n    - [good.png, bad.png]\n")
    assert [finding.place for finding in caught.value.diagnostics] == ["job.yaml:6:18"]


def test_changed_since_it_was_planned(folder: Any) -> None:
    """What is sent is what was planned, byte for byte; else nothing is."""
    folder.write("a.png", picture(20, 20))
    (request,) = folder.requests("request: {prompt: p, image_urls: [a.png]}")
    (reference,) = request.references.values()
    tree = WorkTree(folder.path)
    sent = base64.b64decode(data_uri(reference, tree).partition(",")[2])
    assert sent == (folder.path / "a.png").read_bytes()
    for change in (picture(20, 21), picture(20, 20) + b"\0", b""):
        folder.write("a.png", change)
        with pytest.raises(UsageError, match="changed since it was planned"):
            data_uri(reference, tree)
    (folder.path / "a.png").unlink()
    with pytest.raises(UsageError, match="can't be read"):
        data_uri(reference, tree)


def test_same_image_same_key(folder: Any) -> None:
    """A file, its copy under another name, and the image inline are one request."""
    data = picture(20, 20)
    folder.write("a.png", data)
    folder.write("b.jpg", data)
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    keys = {
        key
        for url in ("a.png", "./a.png", "b.jpg", uri)
        for key in folder.keys(f"request: {{prompt: p, image_urls: ['{url}']}}")
    }
    assert len(keys) == 1
    folder.write("c.png", picture(20, 21))
    assert set(folder.keys("request: {prompt: p, image_urls: [c.png]}")) != keys


def test_each_file_is_read_once(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference that many requests share is read and hashed once."""
    folder.write("a.png", picture(20, 20))
    reads: list[str] = []
    plain = WorkTree.read

    def read(self: WorkTree, path: PurePosixPath, *, limit: int, named: bool = False) -> bytes:
        reads.append(str(path))
        return plain(self, path, limit=limit, named=named)

    monkeypatch.setattr(WorkTree, "read", read)
    assert len(folder.keys('request: {prompt: "{{ a }}", image_urls: [a.png]}\nmatrix: {a: {range: [1, 50]}}')) == 50
    assert reads == ["job.yaml", "a.png"]


def test_each_reference_is_told_where_it_is_written(tmp_path: Path) -> None:
    """All of them, each at its own item: in the list, in an axis, in a value that a template puts in."""
    folder = Folder(tmp_path)
    folder.write("good.png", picture(20, 20))
    folder.write("cut.png", picture(20, 20)[:-4])
    folder.write("r.csv", "name,ref\nx,good.png\ny,\nz,gone.png\n")
    bare = base64.b64encode(picture(40, 40)).decode()
    job = f"""
        request:
          prompt: a {{{{ style.name }}}}
          image_urls:
            - good.png
            - cut.png
            - "data:image/jpg;base64,AAAA"
            - "{bare}"
            - "image/png;base64,AAAA"
            - "refs/{{{{ style.ref }}}}"
            - "refs\\\\a.png"
        matrix:
          style:
            - {{id: a, name: ink, ref: a.png}}
            - {{id: b, name: oil, ref: b.png}}
        """
    found = told(folder, job)
    assert [(line, said.split(":")[0][:40]) for line, said in found] == [
        (6, "'cut.png' is cut short"),
        (7, "a reference image is a file relative to "),
        (8, f"the reference '{bare[:25]}"),
        (9, "the reference 'image/png;base64,AAAA' is"),
        (11, "the reference 'refs\\\\a.png' has backslas"),
        (14, "there is no reference image 'refs/a.png'"),
        (15, "there is no reference image 'refs/b.png'"),
    ]
    assert all(len(said) < 250 for _, said in found)
    axis = "request: {prompt: a}\nmatrix:\n  image_urls:\n  - good.png\n  - [good.png,\n     gone.png]\n  - cut.png\n"
    assert [line for line, _ in told(folder, axis)] == [7, 8]
    table = 'request: {prompt: a, image_urls: [good.png,\n  "{{ r.ref }}"]}\nmatrix: {r: {from: r.csv}}\n'
    assert told(folder, table) == [
        (3, "a reference is empty (at r=3)"),
        (3, "there is no reference image 'gone.png' (at r=4)"),
    ]


def told(folder: Folder, job: str) -> list[tuple[int, str]]:
    """(line, message) of each finding about a reference."""
    with pytest.raises(FindingsError) as caught:
        folder.expand(job)
    assert {finding.code for finding in caught.value.diagnostics} <= {"reference-image", "bad-reference"}
    return [(finding.span.start.line, finding.message) for finding in caught.value.diagnostics if finding.span]
