"""Images in a store, end to end: a real service, real stores, real clones."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.errors import LedgerError
from seedream_jobs.ledger.codec import seal, unsealed
from tests.hostile.tree import git
from tests.store.conftest import Campaign, Stored

DIES = """\
import os, signal, sys
from seedream_jobs.cli.main import run_command
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.state import Stored
record = Ledger.record
async def dies(self, event):
    if isinstance(event, Stored):
        os.kill(os.getpid(), signal.SIGKILL)
    await record(self, event)
Ledger.record = dies
run_command(sys.argv[1:])
"""


def forge(manifest: Path, right: str, old: str, new: str) -> None:
    """Another word in a record, with the checksums that belong to it."""
    lines = [unsealed(line) for line in right.encode().splitlines()]
    manifest.write_bytes(b"".join(seal(line.replace(old.encode(), new.encode())) + b"\n" for line in lines))


def test_images_are_kept_by_their_content(campaign: Campaign, stored: Stored, check_objects: Any) -> None:
    """In the store and on disk: the same bytes, described; the record names both places."""
    assert campaign.call("fetch", "garden.yaml") == 0, campaign.err
    check_objects(stored, campaign)
    assert sorted(stored.images().values()) == sorted(campaign.local().values())
    for address, image in campaign.images().items():
        sidecar = json.loads(stored.all()[image["object"].replace(".jpeg", ".json")])
        assert (sidecar["address"], sidecar["image"]["sha256"]) == (address, image["sha256"])
    assert campaign.call("status", "garden.yaml", "--offline") == 0
    assert "2 images stored, " in campaign.out
    before = stored.all()
    assert campaign.call("fetch", "garden.yaml", "--verify") == 0
    assert stored.all() == before


def test_the_store_alone_is_enough(campaign: Campaign, stored: Stored, check_objects: Any) -> None:
    """``--no-local``: nothing on disk but thumbnails, no damage, and ``pull`` brings the very bytes back."""
    assert campaign.call("fetch", "garden.yaml", "--no-local") == 0, campaign.err
    check_objects(stored, campaign)
    assert not campaign.local()
    assert not [*campaign.folder.glob("out/garden/.*"), *campaign.folder.glob("out/garden/*.json")]
    assert campaign.call("status", "garden.yaml", "--offline") == 0
    assert "2 images stored (2 in the store, not on disk)" in campaign.out
    assert campaign.call("fetch", "garden.yaml", "--verify", "--no-gallery") == 0
    assert not campaign.local()
    assert campaign.call("gallery", "garden.yaml") == 0

    assert campaign.call("pull", "garden.yaml", "--select", "{size: '16:9'}") == 0, campaign.err
    assert len(campaign.local()) == 1
    assert campaign.call("pull", "garden.yaml") == 0
    assert "1 image brought" in campaign.out
    assert "1 image there already" in campaign.out
    assert {image["file"]: image["sha256"] for image in campaign.images().values()} == {
        f"out/garden/{name}": hashlib.sha256(body).hexdigest() for name, body in campaign.local().items()
    }
    assert len(list(campaign.folder.glob("out/garden/*.json"))) == 2
    assert campaign.call("status", "garden.yaml", "--offline") == 0
    assert "not on disk" not in campaign.out


def test_what_was_fetched_before_is_put_there(campaign: Campaign, stored: Stored, check_objects: Any) -> None:
    """``fetch --verify``, once the policy names a store: from the disk, also where the links are dead, once."""
    policy = campaign.folder / "policy.yaml"
    told = policy.read_text()
    policy.write_text("version: 1\n")
    assert campaign.call("fetch", "garden.yaml") == 0, campaign.err
    assert not stored.all()
    before, (sidecar, _) = campaign.local(), sorted(campaign.folder.glob("out/garden/*.json"))
    policy.write_text(told)
    assert campaign.call("fetch", "garden.yaml") == 0
    assert not stored.all(), "only --verify reads every image"
    sidecar.unlink()
    manifest = campaign.folder / "garden.manifest.jsonl"
    forge(manifest, manifest.read_text(), f"{campaign.url}/", "http://127.0.0.1:9/")  # where nobody answers
    forge(manifest, manifest.read_text(), '"task_id":"', '"task_id":"gone-')
    assert campaign.call("fetch", "garden.yaml", "--verify") == 0, campaign.err
    check_objects(stored, campaign)
    assert campaign.local() == before
    assert sidecar.exists()
    record = campaign.images()
    assert campaign.call("fetch", "garden.yaml", "--verify") == 0
    assert campaign.images() == record
    for file in campaign.folder.glob("out/garden/*.*"):
        file.unlink()
    assert campaign.call("pull", "garden.yaml") == 0
    assert campaign.local() == before


@pytest.mark.parametrize("stored", ["file"], indirect=True)
def test_what_can_not_be_brought_is_a_finding(
    campaign: Campaign, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file in the place, a missing object, other bytes under the digest: each is named, nothing is written."""
    assert campaign.call("fetch", "garden.yaml", "--no-local") == 0
    first, second = campaign.images().values()
    (campaign.folder / first["file"]).write_bytes(b"mine")
    stored.put(second["object"], b"another picture")
    assert campaign.call("pull", "garden.yaml") == 8
    assert f"{second['object']} in {stored.url} has bytes of another sha256" in campaign.err
    assert "1 not brought: seedream-jobs fetch garden.yaml --verify puts" in campaign.err, "pull again would not"
    assert "a file with other bytes has its name" in campaign.err
    assert campaign.local() == {Path(first["file"]).name: b"mine"}

    def full(*_: object) -> str:
        raise LedgerError("no room")

    with monkeypatch.context() as patched:
        patched.setattr("seedream_jobs.cli.pull.bring_back", full)
        assert campaign.call("pull", "garden.yaml") == 8
    assert "not written: seedream-jobs pull garden.yaml goes on" in campaign.err
    assert "--verify" not in campaign.err
    (campaign.folder / first["file"]).unlink()
    link = campaign.folder / first["file"]
    link.symlink_to(campaign.folder / "elsewhere.jpeg")
    assert campaign.call("pull", "garden.yaml") == 8
    assert not (campaign.folder / "elsewhere.jpeg").exists()
    # What is damaged in the store is damage: nothing replaces it there, and the record stays.
    link.unlink()
    record = campaign.images()
    assert campaign.call("fetch", "garden.yaml", "--verify", "--no-gallery") == 8
    assert f"under {second['object']} lie bytes that have another sha256" in campaign.err
    assert campaign.images() == record


@pytest.mark.parametrize("stored", ["file"], indirect=True)
def test_a_record_can_not_choose_what_is_read(campaign: Campaign, stored: Stored, tmp_path: Path) -> None:
    """A forged name is no name; a name of another object brings bytes that are not taken."""
    assert campaign.call("fetch", "garden.yaml", "--no-local") == 0
    manifest = campaign.folder / "garden.manifest.jsonl"
    right = manifest.read_text()
    first, second = campaign.images().values()
    secret = stored.url.removeprefix("file://") + "/../secret"
    for forged in (
        "s3://other/images/x.jpeg", "../secret", "images/../../secret", f"images/aa/{'b' * 64}.jpeg",
        secret, "/etc/passwd", f"images/{'a' * 2}/{'a' * 64}.json", "",
    ):  # fmt: skip
        forge(manifest, right, first["object"], forged)
        assert campaign.call("pull", "garden.yaml") == 1, forged
        assert "'object' must be the name of an image in a store" in campaign.err
    forge(manifest, right, first["object"], second["object"])
    assert campaign.call("pull", "garden.yaml") == 8
    assert "bytes of another sha256" in campaign.err
    assert list(campaign.local()) == [Path(second["file"]).name]


@pytest.mark.parametrize("stored", ["s3"], indirect=True)
def test_killed_between_store_and_record(campaign: Campaign, stored: Stored, check_objects: Any) -> None:
    """The next command goes on; the object is there once, and was not written again."""
    words = ("fetch", "garden.yaml", "--no-local", "--no-gallery", "--concurrency", "1")
    ended = subprocess.run(**campaign.line(sys.executable, "-c", DIES, *words), capture_output=True)
    assert ended.returncode == -signal.SIGKILL
    before = stored.images()
    assert len(before) == 1
    assert not campaign.images()[next(iter(campaign.images()))].get("file") if campaign.images() else True
    assert campaign.call("fetch", "garden.yaml", "--no-local", "--no-gallery") == 0, campaign.err
    check_objects(stored, campaign)
    assert before.items() <= stored.images().items()


def test_two_fetchers_at_once(campaign: Campaign, stored: Stored, check_objects: Any) -> None:
    """Two clones fetch the same tasks: both end well, each object is there once."""
    other = campaign.elsewhere("other")
    words = (sys.executable, "-m", "seedream_jobs", "fetch", "garden.yaml", "--no-gallery")
    both = [
        subprocess.Popen(**one.line(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for one in (campaign, other)
    ]
    said = [one.communicate(timeout=120)[0].decode() for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    for one in (campaign, other):
        check_objects(stored, one)
    assert campaign.local() == other.local()


@pytest.mark.parametrize("stored", ["s3"], indirect=True)
def test_a_page_of_what_is_not_on_disk(campaign: Campaign, page: Any) -> None:
    """In another clone, which has the record alone: Chromium shows every thumbnail."""
    assert campaign.call("fetch", "garden.yaml", "--no-local", "--no-gallery") == 0
    clone = campaign.elsewhere("clone")
    ended = subprocess.run(
        **clone.line(sys.executable, "-m", "seedream_jobs", "gallery", "garden.yaml"), capture_output=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert not clone.local()
    page.open(clone.folder / "out/garden/gallery/index.html")
    shown = "[...document.querySelectorAll('main img, .grid img')]"
    page.until(f"{shown}.length >= 2 && {shown}.every((one) => one.complete && one.naturalWidth >= 300)")


@pytest.mark.parametrize("stored", ["file"], indirect=True)
def test_compare_shows_what_is_not_on_disk(campaign: Campaign, stored: Stored, tmp_path: Path) -> None:
    """The sheet and the page of a checkout without images, as CI has it, are those of one that has them."""
    folder = campaign.folder
    (folder / ".gitignore").write_text("out/\n.seedream/\n")
    git(folder, "init", "-q", "-b", "main", ".")
    git(folder, "add", "policy.yaml", "garden.yaml", ".gitignore")
    git(folder, "commit", "-q", "-m", "before")
    assert campaign.call("fetch", "garden.yaml") == 0, campaign.err
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "images")

    def compare(name: str) -> dict[str, bytes]:
        made = tmp_path / name
        options = ("--base", "HEAD~", "--sheets", str(made / "sheets"), "--page", str(made / "page"))
        assert campaign.call("compare", "garden.yaml", *options) == 0, campaign.err
        return {
            str(file.relative_to(made)): file.read_bytes()
            for pattern in ("sheets/*.webp", "page/images/*", "page/thumbnails/*")
            for file in made.glob(pattern)
        }

    shutil.rmtree(folder / ".seedream")  # a sheet made of thumbnails has other bytes
    here = compare("here")
    assert len(here) == 5, "a sheet, and two images with a thumbnail each"
    shutil.rmtree(folder / "out")
    assert compare("apart") == here
    assert campaign.err == ""
    shutil.move(tmp_path / "store", tmp_path / "gone")
    assert list(compare("nowhere")) == ["sheets/garden.webp"]
    assert campaign.err.count("warning: images that are only in the store are not shown: ") == 1


@pytest.mark.parametrize("stored", ["s3"], indirect=True)
def test_export_reads_what_is_not_on_disk(campaign: Campaign, stored: Stored) -> None:
    """From a clone that has the record alone: chosen images, in a process under limits; nothing is left behind."""
    assert campaign.call("fetch", "garden.yaml") == 0
    clone = campaign.elsewhere("clone")
    address, image = next(iter(clone.images().items()))
    choice = {"address": address, "key": "v1:" + "0" * 64, "index": 1, "sha256": image["sha256"], "verdict": "chosen"}
    told = {"format": 2, "job": "garden", "reviewer": "mara", "ratings": [], "choices": [choice]}
    (clone.folder / "ratings.json").write_text(json.dumps(told))
    assert clone.call("choose", "garden.yaml", "ratings.json") == 0, clone.err
    whole = (sys.executable, "-m", "seedream_jobs", "export", "garden.yaml")
    words = ("--format", "imagefolder", "-o", "chosen", "--chosen")
    for _ in range(2):
        ended = subprocess.run(**clone.line(*whole, *words), capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stderr
        (written,) = (clone.folder / "chosen").rglob("*.jpeg")
        assert written.read_bytes() == (campaign.folder / image["file"]).read_bytes()
    assert clone.call("export", "garden.yaml", "--format", "webdataset", "-o", "shards") == 0, clone.err
    assert clone.call("export", "garden.yaml", "--format", "csv") == 0, clone.err
    assert len(clone.out.splitlines()) == 3
    assert not clone.local()
    assert not list((clone.folder / ".seedream").glob("export-*"))

    # A store that is gone: what is missing is named, and the rest is written.
    name = next(name for name in stored.images() if name != image["object"])
    stored.put(name, b"other")
    assert clone.call("export", "garden.yaml", "--format", "imagefolder", "-o", "all") == 8
    assert "1 image left out" in clone.err
    assert f"{name} in {stored.url} has bytes of another sha256" in clone.err
    assert len(list((clone.folder / "all").rglob("*.jpeg"))) == 1


@pytest.mark.parametrize("stored", ["file"], indirect=True)
def test_what_another_campaign_paid_is_told(campaign: Campaign, new: Callable[[str], Campaign], stored: Stored) -> None:
    """Before a key is paid again: with its image, when asked; the record's own is no news."""
    assert campaign.call("fetch", "garden.yaml", "--no-local") == 0
    other = new("other")
    image = next(iter(campaign.images().values()))
    assert other.call("plan", "garden.yaml") == 0
    assert "paid-in-store" not in other.err
    assert other.call("plan", "garden.yaml", "--shared") == 0
    assert "2 of 2 requests to be submitted were paid in another record of the same store" in other.err
    assert image["object"] in other.err
    assert other.call("run", "garden.yaml", "--yes", "--detach") == 0
    assert "2 of 2 requests to be submitted were paid in another record" in other.err
    third = new("third")
    assert third.call("plan", "garden.yaml", "-o", "plan.json") == 0
    assert third.call("run", "plan.json", "--yes", "--detach") == 0
    assert "2 of 2 requests to be submitted were paid in another record" in third.err
    assert campaign.call("plan", "garden.yaml", "--shared", "--again", next(iter(campaign.images()))) == 0
    assert "another record" not in campaign.err


@pytest.mark.parametrize("stored", ["file"], indirect=True)
def test_a_store_that_can_not_be_reached(campaign: Campaign, stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing paid is lost, gallery and export say what is missing, and the next command goes on."""
    monkeypatch.setattr("seedream_jobs.object_store._TRIES", 1)
    right = (campaign.folder / "policy.yaml").read_text()
    (campaign.folder / "policy.yaml").write_text('version: 1\nshared: {images: "s3://gone/images"}\n')
    sane = dict(campaign.environment)
    campaign.environment |= {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "x",
        "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
    }  # fmt: skip
    assert campaign.call("fetch", "garden.yaml", "--no-local") == 8
    assert "s3://gone/images can't be reached" in campaign.err
    assert not any(image.get("file") for image in campaign.images().values())
    (campaign.folder / "policy.yaml").write_text(right)
    broken, campaign.environment = campaign.environment, sane
    assert campaign.call("fetch", "garden.yaml", "--no-local", "--no-gallery") == 0, campaign.err

    clone = campaign.elsewhere("clone")
    (clone.folder / "policy.yaml").write_text('version: 1\nshared: {images: "s3://gone/images"}\n')
    clone.environment = broken
    assert clone.call("gallery", "garden.yaml") == 8
    assert "2 images without a thumbnail" in clone.err
    assert "can't be reached" in clone.err
    assert (clone.folder / "out/garden/gallery/index.html").exists()
    assert clone.call("export", "garden.yaml", "--format", "imagefolder", "-o", "data") == 8
    assert "2 images left out" in clone.err
    assert clone.call("pull", "garden.yaml") == 8
    assert clone.call("fetch", "garden.yaml", "--verify") == 8
    assert clone.call("plan", "garden.yaml", "--shared", "--again", next(iter(clone.images()))) == 0
    assert "not known" in clone.err


@pytest.mark.parametrize("stored", ["file"], indirect=True)
def test_a_folder_is_never_made(campaign: Campaign, new: Callable[[str], Campaign], tmp_path: Path) -> None:
    """A disk that is not mounted, or a stranger's policy: nothing is written where it leads."""
    other = new("new")
    for one, code, words in ((campaign, 8, ("fetch", "garden.yaml")), (other, 0, ("plan", "garden.yaml", "--shared"))):
        text = f'version: 1\nshared: {{images: "file://{tmp_path}/other/store"}}\n'
        (one.folder / "policy.yaml").write_text(text)
        assert one.call(*words) == code
        assert "there is no such folder" in one.err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("stored", ["file"], indirect=True)
def test_without_the_extra_the_command_says_which(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "seedream_jobs.object_store", raising=False)
    assert campaign.call("fetch", "garden.yaml") == 2
    assert 'pip install "seedream-jobs[cloud]"' in campaign.err
    (campaign.folder / "policy.yaml").unlink()
    assert campaign.call("pull", "garden.yaml") == 2
    assert "names no store of images" in campaign.err
    assert campaign.call("fetch", "garden.yaml", "--no-local") == 2
    assert campaign.call("fetch", "garden.yaml") == 0
    assert not any("object" in image for image in campaign.images().values())
