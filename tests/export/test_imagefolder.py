"""imagefolder by its documented rules (huggingface.co/docs/datasets/image_dataset#imagefolder)."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from seedream_jobs.errors import UsageError
from seedream_jobs.results.export import export


def write(record: Any, folder: Path) -> Any:
    return export(record.rows(), "imagefolder", folder, stdout=io.BytesIO())


def metadata(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]


def images(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*.jpeg")}


def test_the_rules(garden: Any, tmp_path: Path) -> None:
    """Each line names a file relative to itself; each image has a line; all lines have equal columns and types."""
    folder = tmp_path / "data"
    assert write(garden, folder).images == 4
    lines = metadata(folder)
    assert {line["file_name"] for line in lines} == images(folder)
    assert len({tuple(line) for line in lines}) == 1
    for name in lines[0]:
        assert len({type(line[name]) for line in lines if line[name] is not None}) <= 1, name
    for line in lines:
        with Image.open(folder / line["file_name"]) as image:
            assert image.size == (line["width"], line["height"])


def test_the_card(garden: Any, tmp_path: Path) -> None:
    """Front matter that is YAML, a row for each column; a card that somebody edited stays."""
    folder = tmp_path / "data"
    write(garden, folder)
    card = (folder / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["pretty_name"] == "garden"
    assert front["size_categories"] == ["n<1K"]
    for name in metadata(folder)[0]:
        assert name == "file_name" or f"| `{name}` |" in card
    (folder / "README.md").write_text("ours\n", encoding="utf-8")
    write(garden, folder)
    assert (folder / "README.md").read_text(encoding="utf-8") == "ours\n"


def test_images_are_not_doubled(garden: Any, tmp_path: Path) -> None:
    """On one file system an image is a second name of the same file; again, and not even that is made."""
    folder = tmp_path / "data"
    write(garden, folder)
    before = {name: (folder / name).stat() for name in images(folder)}
    write(garden, folder)
    for line in metadata(folder):
        now = (folder / line["file_name"]).stat()
        assert os.path.samestat(now, before[line["file_name"]])
        assert now.st_nlink == 2


def test_copies_where_there_are_no_links(garden: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another disk: copied once, and known again by size and time."""

    def refused(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    folder = tmp_path / "data"
    write(garden, folder)
    before = {name: (folder / name).stat().st_ino for name in images(folder)}
    write(garden, folder)
    assert {name: (folder / name).stat().st_ino for name in images(folder)} == before


def test_what_is_gone_from_the_job_is_gone_from_the_folder(garden: Any, record: Any, tmp_path: Path) -> None:
    """Only images that the earlier export named are removed; a repository around them is left alone."""
    folder = tmp_path / "data"
    write(garden, folder)
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref\n", encoding="utf-8")
    (folder / "images" / "mine.jpeg").write_bytes(b"mine")
    smaller = type(record)(garden.folder)
    smaller.add("a heron", subject="a heron")
    write(smaller, folder)
    assert len(metadata(folder)) == 1
    assert images(folder) == {metadata(folder)[0]["file_name"], "images/mine.jpeg"}
    assert (folder / ".git" / "HEAD").exists()


def test_an_interrupted_export_goes_on(garden: Any, tmp_path: Path) -> None:
    """Killed in the middle there is no metadata, so that nobody takes it for whole; the same call finishes it."""
    folder = tmp_path / "data"

    def killed(count: int) -> None:
        if count == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(garden.rows(), "imagefolder", folder, stdout=io.BytesIO(), told=killed)
    assert not (folder / "metadata.jsonl").exists()
    assert images(folder)
    write(garden, folder)
    assert {line["file_name"] for line in metadata(folder)} == images(folder)


def test_a_missing_image_is_named(garden: Any, tmp_path: Path) -> None:
    """It has no line, and is counted; where an earlier export still has it, it stays."""
    lost = next(iter(garden.rows()))
    folder, fresh = tmp_path / "data", tmp_path / "fresh"
    write(garden, folder)
    lost.source.unlink()
    assert write(garden, folder).images == 4
    done = write(garden, fresh)
    assert (done.images, done.missing, done.missing_names) == (3, 1, (str(lost.name),))
    assert {line["file_name"] for line in metadata(fresh)} == images(fresh)


def test_a_folder_with_other_things_is_refused(garden: Any, tmp_path: Path) -> None:
    """Nothing is mixed into somebody's folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "thesis.tex").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        write(garden, folder)
    assert [file.name for file in folder.iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match="is a file"):
        write(garden, folder / "thesis.tex")


def test_no_name_leads_out(record: Any, tmp_path: Path) -> None:
    """An output folder beside the job's own stays inside the export."""
    record.add("a heron", folder="../shared")
    folder = tmp_path / "deep" / "data"
    write(record, folder)
    assert metadata(folder)[0]["file_name"] == "images/_/shared/0000-i1.jpeg"
    assert images(folder) == {"images/_/shared/0000-i1.jpeg"}
