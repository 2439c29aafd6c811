"""WebDataset shards, read by tarfile, and by the webdataset library where it is installed."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.errors import UsageError
from seedream_jobs.results.export import export
from seedream_jobs.results.export import webdataset as module


def write(record: Any, folder: Path, *, shard_bytes: int = 10**9, **options: Any) -> Any:
    return export(record.rows(), "webdataset", folder, stdout=io.BytesIO(), shard_bytes=shard_bytes, **options)


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tar"))


def samples(folder: Path) -> dict[str, dict[str, bytes]]:
    """Sample key to suffix to content, grouped as webdataset groups: up to the first dot, neighbours only."""
    found: dict[str, dict[str, bytes]] = {}
    for shard in shards(folder):
        with tarfile.open(shard, "r:") as tar:
            last = None
            for member in tar:
                key, _, suffix = member.name.partition(".")
                assert key == last or key not in found, "a sample's members stand together"
                last = key
                content = tar.extractfile(member)
                assert content is not None
                found.setdefault(key, {})[suffix] = content.read()
    return found


def test_a_sample_is_image_prompt_and_row(garden: Any, tmp_path: Path) -> None:
    """Three members of one key; the key says which image of which request it is."""
    assert write(garden, tmp_path / "w").images == 4
    found = samples(tmp_path / "w")
    assert len(found) == 4
    for key, parts in found.items():
        row = json.loads(parts["json"])
        assert set(parts) == {"jpeg", "txt", "json"}
        assert key == f"{row['key'][3:35]}-i{row['number']}"
        assert parts["txt"].decode() == row["prompt"]
        assert len(parts["jpeg"]) == row["bytes"]


def test_the_same_images_give_the_same_bytes(garden: Any, tmp_path: Path) -> None:
    """No time, no owner, no order by chance."""
    write(garden, tmp_path / "one")
    for file in garden.folder.rglob("*.jpeg"):
        file.touch()
    write(garden, tmp_path / "two")
    assert [file.name for file in shards(tmp_path / "one")] == ["garden-000000.tar"]
    assert shards(tmp_path / "one")[0].read_bytes() == shards(tmp_path / "two")[0].read_bytes()
    with tarfile.open(shards(tmp_path / "one")[0]) as tar:
        assert {(one.mtime, one.uid, one.gid, one.uname, one.mode) for one in tar} == {(0, 0, 0, "", 0o644)}


@pytest.mark.parametrize("bound", [10_240, 20_480, 50_000])
def test_no_shard_is_larger_than_asked(record: Any, tmp_path: Path, bound: int) -> None:
    """Not by a byte, unless one image alone is; and all images are in one of them."""
    for number in range(30):
        record.add(f"prompt {number} " + "x" * number * 40)
    write(record, tmp_path / "w", shard_bytes=bound)
    assert len(shards(tmp_path / "w")) > 1
    for shard in shards(tmp_path / "w"):
        assert shard.stat().st_size <= bound
    assert len(samples(tmp_path / "w")) == 30


def test_one_image_may_be_larger_than_a_shard(garden: Any, tmp_path: Path) -> None:
    write(garden, tmp_path / "w", shard_bytes=1)
    assert len(shards(tmp_path / "w")) == 4


def test_an_interrupted_export_goes_on(record: Any, tmp_path: Path) -> None:
    """What is finished is not written again: the shards keep their inodes, and the index is whole at every moment."""
    for number in range(30):
        record.add(f"prompt {number}")
    folder = tmp_path / "w"

    def killed(count: int) -> None:
        if count > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(record, folder, shard_bytes=20_480, told=killed)
    index = json.loads((folder / ".index.json").read_bytes())["shards"]
    assert [one["file"] for one in index] == [file.name for file in shards(folder)]
    before = {file.name: file.stat().st_ino for file in shards(folder)}
    write(record, folder, shard_bytes=20_480)
    after = {file.name: file.stat().st_ino for file in shards(folder)}
    assert len(samples(folder)) == 30
    assert len(after) > len(before)
    assert {name: after[name] for name in before} == before


def test_killed_between_a_shard_and_its_index(garden: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shard that no index names yet is made again, and nobody's folder is in the way."""
    kept = module._write_index
    calls: list[int] = []

    def killed(folder: Path, known: list[dict[str, Any]]) -> None:
        calls.append(len(known))
        if len(calls) == 2:
            raise KeyboardInterrupt
        kept(folder, known)

    monkeypatch.setattr(module, "_write_index", killed)
    with pytest.raises(KeyboardInterrupt):
        write(garden, tmp_path / "w")
    assert len(shards(tmp_path / "w")) == 1
    assert write(garden, tmp_path / "w").images == len(samples(tmp_path / "w")) == 4


def test_a_changed_image_renews_its_shard_only(record: Any, tmp_path: Path) -> None:
    """And an export that has become smaller takes its surplus shards with it."""
    for number in range(30):
        record.add(f"prompt {number}")
    folder = tmp_path / "w"
    write(record, folder, shard_bytes=20_480)
    before = {file.name: file.stat().st_ino for file in shards(folder)}
    last = list(record.entries)[-1]
    entry = record.entries[last]
    record.entries.put(type(entry)(**{**{name: getattr(entry, name) for name in entry.__slots__}, "repeat": 2}))
    write(record, folder, shard_bytes=20_480)
    after = {file.name: file.stat().st_ino for file in shards(folder)}
    assert [name for name in before if after[name] != before[name]] == [max(before)]
    write(record, folder, shard_bytes=10**9)
    assert [file.name for file in shards(folder)] == ["garden-000000.tar"]


def test_a_folder_with_other_things_is_refused(garden: Any, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    (folder / "other.tar").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"other\.tar"):
        write(garden, folder)
    (folder / "index.json").write_text('{"shards": [{"file": "../../x.tar"}]}', encoding="utf-8")
    (tmp_path.parent / "x.tar").write_bytes(b"x")
    write(garden, folder)
    assert (tmp_path.parent / "x.tar").exists(), "an index can't lead out of its folder"
    seen = {file.name for file in folder.iterdir() if not file.name.startswith(".")}
    assert seen == {"other.tar", "garden-000000.tar"}, "an index of an earlier version gives way to the hidden one"


def test_a_missing_image_is_named(garden: Any, tmp_path: Path) -> None:
    lost = next(iter(garden.rows()))
    lost.source.unlink()
    done = write(garden, tmp_path / "w")
    assert (done.images, done.missing, done.missing_names) == (3, 1, (str(lost.name),))


@pytest.mark.filterwarnings("default")
def test_the_webdataset_library_reads_it(garden: Any, tmp_path: Path) -> None:
    """The reader that people use sees the same samples."""
    reader = pytest.importorskip("webdataset")
    write(garden, tmp_path / "w", shard_bytes=20_480)
    urls = [str(shard) for shard in shards(tmp_path / "w")]
    found = list(reader.WebDataset(urls, shardshuffle=False, empty_check=False))
    assert sorted(one["__key__"] for one in found) == sorted(samples(tmp_path / "w"))
    assert all(json.loads(one["json"])["prompt"] == one["txt"].decode() for one in found)
