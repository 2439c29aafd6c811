"""imagefolder and webdataset by their documented rules, and as the readers that people use see them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from seedream_jobs.errors import UsageError
from seedream_jobs.results.export import export, folders
from tests.canary import CANARY, own


def write(record: Any, folder: Path, on_progress: Callable[[int], None] = lambda _: None) -> Any:
    rows = record.rows(on_progress=on_progress)
    export(rows, "imagefolder", folder, stdout=io.BytesIO())
    return rows


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
    assert front["license"] == "unknown"
    (config,) = front["configs"]
    assert {one["name"] for one in config.pop("features")} == {"image", *metadata(folder)[0]} - {"file_name"}
    assert config == {
        "config_name": "default",
        "data_files": [{"split": "train", "path": ["metadata.jsonl", "images/**"]}],
    }
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

    def refused(*_: object, **__: object) -> None:
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
        write(garden, folder, killed)
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
    assert (done.images, done.missing, done.named) == (3, 1, [(str(lost.name), "not on disk")])
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


@pytest.mark.parametrize(
    "found",
    ["not JSON\n", "{}\n", '{"prompt": "x"}\n', "[]\n", "1\n", "[" * 100_000, '{"file_name": "images/a.jpeg"}\n{"f'],
)
def test_a_damaged_list_of_images_is_refused_before_anything_is_written(
    garden: Any, tmp_path: Path, found: str
) -> None:
    """Another program's, or one that broke off: which images may be removed can't be told."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "metadata.jsonl").write_text(found, encoding="utf-8")
    with pytest.raises(UsageError, match="not an earlier export's"):
        write(garden, folder)
    assert [file.name for file in folder.iterdir()] == ["metadata.jsonl"]


@pytest.mark.parametrize("name", ["metadata.jsonl", "README.md"])
def test_a_link_in_the_place_of_an_earlier_file_is_not_read(garden: Any, tmp_path: Path, name: str) -> None:
    """An export may have come with a commit: ``/dev/zero`` would be read without end."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "metadata.jsonl").touch()
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("/dev/zero")
    if name == "README.md":
        write(garden, folder)
        assert (folder / name).is_symlink()
    else:
        with pytest.raises(UsageError, match="not an earlier export's"):
            write(garden, folder)


def test_no_name_leads_out(record: Any, tmp_path: Path) -> None:
    """An output folder beside the job's own stays inside the export."""
    record.add("a heron", folder="../shared")
    folder = tmp_path / "deep" / "data"
    write(record, folder)
    assert metadata(folder)[0]["file_name"] == "images/_/shared/0000-i1.jpeg"
    assert images(folder) == {"images/_/shared/0000-i1.jpeg"}


@pytest.mark.parametrize("form", ["imagefolder", "webdataset", "parquet"])
def test_nothing_is_packed_that_is_no_image_of_the_record(record: Any, tmp_path: Path, form: str) -> None:
    """A link, a file of git's, one beside the campaign, one without a hash: left out, each with its reason."""
    secret = CANARY.encode()
    kept = {"out/link.jpeg": None, ".git/config": secret, "../../beside.txt": secret, "plain.txt": secret}
    for name, data in kept.items():
        entry = record.add(name)
        file = record.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            own(tmp_path / "victim").write_bytes(secret)
            file.symlink_to(tmp_path / "victim")
        else:
            own(file.resolve()).write_bytes(data)
        digest = None if name == "plain.txt" else hashlib.sha256(secret).hexdigest()
        image = replace(entry.images[0], file=name, sha256=digest, bytes=None)
        record.entries.put(replace(entry, images=(image,)))
    rows = record.rows()
    target = tmp_path / ("table.parquet" if form == "parquet" else "data")
    export(rows, form, target, stdout=io.BytesIO(), with_images=form == "parquet")
    assert (rows.images, rows.missing) == (0, 4)
    reasons = " ".join(why for _, why in rows.named)
    for words in ("symbolic link", "git's own folder", "leads out", "does not say what it holds"):
        assert words in reasons
    for file in target.rglob("*") if target.is_dir() else [target]:
        assert file.is_dir() or secret not in file.read_bytes()


def test_an_earlier_export_is_no_way_out(record: Any, tmp_path: Path) -> None:
    """A data set that came with a commit may have links among its folders: nothing is written or removed by them."""
    record.add("a heron")
    folder, away = tmp_path / "data", tmp_path / "away"
    (folder / "images").mkdir(parents=True)
    away.mkdir()
    (away / "precious.jpeg").touch()
    (folder / "metadata.jsonl").write_text('{"file_name": "images/old/precious.jpeg"}\n')
    (folder / "images/old").symlink_to(away)
    with pytest.raises(UsageError, match="symbolic link"):
        write(record, folder)
    (folder / "images/out").rename(tmp_path / "moved")
    (folder / "images/out").symlink_to(away)
    with pytest.raises(UsageError, match="symbolic link"):
        write(record, folder)
    assert [file.name for file in away.iterdir()] == ["precious.jpeg"]


# -- webdataset --


def write_shards(record: Any, folder: Path, *, shard_bytes: int = 10**9, **options: Any) -> Any:
    rows = record.rows(**options)
    export(rows, "webdataset", folder, stdout=io.BytesIO(), shard_bytes=shard_bytes)
    return rows


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
    assert write_shards(garden, tmp_path / "w").images == 4
    found = samples(tmp_path / "w")
    assert len(found) == 4
    for key, parts in found.items():
        row = json.loads(parts["json"])
        assert set(parts) == {"jpeg", "txt", "json"}
        assert key == f"{row['key'][3:35]}-i{row['number']}"
        assert parts["txt"].decode() == row["prompt"]
        assert len(parts["jpeg"]) == row["bytes"]


def test_a_shard_has_images_of_one_format(record: Any, tmp_path: Path) -> None:
    """``datasets`` takes the columns of the first sample for those of all: it can read each format by its shards."""
    for number, kind in enumerate(["jpeg", "png", "jpeg", "png", "png"]):
        record.add(f"heron {number}", kind=kind)
    assert write_shards(record, tmp_path / "w").images == 5
    found = {}
    for shard in shards(tmp_path / "w"):
        with tarfile.open(shard) as tar:
            found[shard.name] = [name.rpartition(".")[2] for name in tar.getnames()][::3]
    assert found == {"garden-000000.tar": ["jpeg"] * 2, "garden-png-000000.tar": ["png"] * 3}
    write_shards(record, tmp_path / "w", shard_bytes=1)
    assert [shard.name for shard in shards(tmp_path / "w")] == [
        "garden-000000.tar", "garden-000001.tar", *(f"garden-png-00000{number}.tar" for number in range(3)),
    ]  # fmt: skip


def test_the_same_images_give_the_same_bytes(garden: Any, tmp_path: Path) -> None:
    """No time, no owner, no order by chance."""
    write_shards(garden, tmp_path / "one")
    for file in garden.folder.rglob("*.jpeg"):
        file.touch()
    write_shards(garden, tmp_path / "two")
    assert [file.name for file in shards(tmp_path / "one")] == ["garden-000000.tar"]
    assert shards(tmp_path / "one")[0].read_bytes() == shards(tmp_path / "two")[0].read_bytes()
    with tarfile.open(shards(tmp_path / "one")[0]) as tar:
        assert {(one.mtime, one.uid, one.gid, one.uname, one.mode) for one in tar} == {(0, 0, 0, "", 0o644)}


@pytest.mark.parametrize("bound", [10_240, 20_480, 50_000])
def test_no_shard_is_larger_than_asked(record: Any, tmp_path: Path, bound: int) -> None:
    """Not by a byte, unless one image alone is; and all images are in one of them."""
    for number in range(30):
        record.add(f"prompt {number} " + "x" * number * 40)
    write_shards(record, tmp_path / "w", shard_bytes=bound)
    assert len(shards(tmp_path / "w")) > 1
    for shard in shards(tmp_path / "w"):
        assert shard.stat().st_size <= bound
    assert len(samples(tmp_path / "w")) == 30


def test_one_image_may_be_larger_than_a_shard(garden: Any, tmp_path: Path) -> None:
    write_shards(garden, tmp_path / "w", shard_bytes=1)
    assert len(shards(tmp_path / "w")) == 4


def test_an_interrupted_export_of_shards_goes_on(record: Any, tmp_path: Path) -> None:
    """What is finished is not written again: the shards keep their inodes, and the index is whole at every moment."""
    for number in range(30):
        record.add(f"prompt {number}")
    folder = tmp_path / "w"

    def killed(count: int) -> None:
        if count > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(record, folder, shard_bytes=20_480, on_progress=killed)
    index = json.loads((folder / ".index.json").read_bytes())["shards"]
    assert [one["file"] for one in index] == [file.name for file in shards(folder)]
    before = {file.name: file.stat().st_ino for file in shards(folder)}
    write_shards(record, folder, shard_bytes=20_480)
    after = {file.name: file.stat().st_ino for file in shards(folder)}
    assert len(samples(folder)) == 30
    assert len(after) > len(before)
    assert {name: after[name] for name in before} == before


def test_killed_between_a_shard_and_its_index(garden: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shard that no index names yet is made again, and nobody's folder is in the way."""
    kept = folders._write_index
    calls: list[int] = []

    def killed(folder: Path, known: list[dict[str, Any]]) -> None:
        calls.append(len(known))
        if len(calls) == 2:
            raise KeyboardInterrupt
        kept(folder, known)

    monkeypatch.setattr(folders, "_write_index", killed)
    with pytest.raises(KeyboardInterrupt):
        write_shards(garden, tmp_path / "w")
    assert len(shards(tmp_path / "w")) == 1
    assert write_shards(garden, tmp_path / "w").images == len(samples(tmp_path / "w")) == 4


def test_a_changed_image_renews_its_shard_only(record: Any, tmp_path: Path) -> None:
    """And an export that has become smaller takes its surplus shards with it."""
    for number in range(30):
        record.add(f"prompt {number}")
    folder = tmp_path / "w"
    write_shards(record, folder, shard_bytes=20_480)
    before = {file.name: file.stat().st_ino for file in shards(folder)}
    last = list(record.entries)[-1]
    entry = record.entries[last]
    record.entries.put(replace(entry, repeat=2))
    write_shards(record, folder, shard_bytes=20_480)
    after = {file.name: file.stat().st_ino for file in shards(folder)}
    assert [name for name in before if after[name] != before[name]] == [max(before)]
    write_shards(record, folder, shard_bytes=10**9)
    assert [file.name for file in shards(folder)] == ["garden-000000.tar"]


def test_a_folder_of_shards_with_other_things_is_refused(garden: Any, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    (folder / "other.tar").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"other\.tar"):
        write_shards(garden, folder)


@pytest.mark.parametrize(
    "named", ["../../x.tar", "..", "other.tar", "README.md", "rose-000000.tar", "garden-../x-000000.tar", 1, None, []]
)
def test_an_index_that_names_something_else_is_refused(garden: Any, tmp_path: Path, named: Any) -> None:
    """What an index names is written over and removed: it names shards of this job, or it is not believed."""
    folder = tmp_path / "w"
    write_shards(garden, folder)
    (folder / "README.md").write_text("ours", "utf-8")
    index = json.loads((folder / ".index.json").read_bytes())
    index["shards"].append({"file": named})
    (folder / ".index.json").write_text(json.dumps(index), "utf-8")
    before = sorted(folder.iterdir())
    with pytest.raises(UsageError, match=r"no shard of garden|not an earlier export's"):
        write_shards(garden, folder)
    assert sorted(folder.iterdir()) == before


@pytest.mark.filterwarnings("default")
def test_the_webdataset_library_reads_it(garden: Any, tmp_path: Path) -> None:
    """The reader that people use sees the same samples."""
    reader = pytest.importorskip("webdataset")
    write_shards(garden, tmp_path / "w", shard_bytes=20_480)
    urls = [str(shard) for shard in shards(tmp_path / "w")]
    found = list(reader.WebDataset(urls, shardshuffle=False, empty_check=False))
    assert sorted(one["__key__"] for one in found) == sorted(samples(tmp_path / "w"))
    assert all(json.loads(one["json"])["prompt"] == one["txt"].decode() for one in found)


# -- Hugging Face's datasets --


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``load_dataset``, off the network and with a cache of its own."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets", reason="datasets is not installed (it is large: pip install datasets)")

    def read(kind: str, **options: Any) -> Any:
        return datasets.load_dataset(kind, split="train", cache_dir=str(tmp_path / "cache"), **options)

    return read


@pytest.mark.filterwarnings("default")
def test_datasets_reads_imagefolder(garden: Any, tmp_path: Path, load: Any) -> None:
    """Images with their rows; the card and its front matter do not disturb."""
    export(garden.rows(), "imagefolder", tmp_path / "data", stdout=io.BytesIO())
    found = load(str(tmp_path / "data"))
    assert found.num_rows == 4, "by the card's own configs"
    types = {name: str(found.features[name]) for name in ("rating", "votes", "choice", "notes")}
    expected = {"rating": "Value('float64')", "votes": "Value('int64')", "choice": "Value('string')"}
    assert types == {**expected, "notes": "List(Value('string'))"}, "also where no row has a value"
    found = load("imagefolder", data_dir=str(tmp_path / "data"))
    assert found.num_rows == 4
    assert {row["image"].size for row in found} == {(16, 9)}
    assert {row["prompt"] for row in found} == {row.values["prompt"] for row in garden.rows()}


@pytest.mark.filterwarnings("default")
def test_datasets_reads_webdataset(garden: Any, tmp_path: Path, load: Any) -> None:
    """Samples with decoded image, text and row."""
    export(garden.rows(), "webdataset", tmp_path / "w", stdout=io.BytesIO(), shard_bytes=20_480)
    found = load("webdataset", data_dir=str(tmp_path / "w"))
    assert found.num_rows == 4
    for row in found:
        told = row["json"] if isinstance(row["json"], dict) else json.loads(row["json"])
        assert (row["jpeg"].size, told["prompt"]) == ((16, 9), row["txt"])


@pytest.mark.filterwarnings("default")
def test_datasets_reads_webdataset_of_two_formats(garden: Any, tmp_path: Path, load: Any) -> None:
    """Each format by the names of its shards, as the page says."""
    garden.add("an owl", kind="png")
    export(garden.rows(), "webdataset", tmp_path / "w", stdout=io.BytesIO(), shard_bytes=20_480)
    owl = load("webdataset", data_files=str(tmp_path / "w" / "garden-png-*.tar"))
    assert [(row["png"].size, row["txt"]) for row in owl] == [((16, 9), "an owl")]
    assert load("webdataset", data_files=str(tmp_path / "w" / "garden-0*.tar")).num_rows == 4


@pytest.mark.filterwarnings("default")
def test_datasets_reads_parquet_with_images(garden: Any, tmp_path: Path, load: Any) -> None:
    """The column of images is one without being told."""
    export(garden.rows(), "parquet", tmp_path / "x.parquet", stdout=io.BytesIO(), with_images=True)
    found = load("parquet", data_files=str(tmp_path / "x.parquet"))
    assert found[0]["image"].size == (16, 9)
