"""A tree in git is read as the same tree on disk is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from seedream_jobs.errors import UsageError
from seedream_jobs.inside import OutsideRoot
from seedream_jobs.job.files import WorkTree
from seedream_jobs.plans.revisions import GitTree, Repository
from tests.lanes import examples

FILES = ["a.txt", "b.png", "x/a.txt", "x/[b].png", "x/y/c.png", "x/y/.hidden", ".top/d.txt", "x-1/a.txt", "鹭/a.txt"]


@pytest.fixture
def trees(campaign: Any) -> Iterator[tuple[WorkTree, GitTree]]:
    """One tree, on disk and in git, with links in it."""
    for name in FILES:
        campaign.write(name, f"this is {name}\n")
    links = {"inside": "x/a.txt", "up/link": "../a.txt", "folder": "x", "loop": "loop", "out": "../../etc/hosts"}
    links |= {"absolute": "/etc/hosts", "dangling": "nowhere"}
    for name, target in links.items():
        (campaign.folder / name).parent.mkdir(exist_ok=True)
        (campaign.folder / name).symlink_to(target)
    campaign.commit()
    with Repository(campaign.folder) as repository:
        yield WorkTree(campaign.folder), repository.tree(repository.revision("HEAD"))


PARTS = st.sampled_from(
    [
        "*",
        "**",
        "?",
        "x",
        "y",
        "a.txt",
        "*.png",
        "*.txt",
        "[bc].png",
        "[!a].*",
        "[[]b].png",
        ".*",
        "x*",
        "folder",
        "f*",
        "up",
    ]
)


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PARTS, min_size=1, max_size=4), folder=st.sampled_from(["", "x", "x/y"]))
@example(parts=[".*", "*"], folder="")
@example(parts=["*", "*"], folder="")  # also of a link to a folder
def test_a_pattern_finds_the_same_files(trees: tuple[WorkTree, GitTree], parts: list[str], folder: str) -> None:
    """Every pattern means in git what it means on disk."""
    disk, tree = trees
    pattern = "/".join(parts)
    try:
        expected = disk.glob(PurePosixPath(folder), pattern)
    except OutsideRoot:
        expected = []
    if parts[-1] == "**":
        return  # Python 3.13 finds files there, too
    assert tree.glob(PurePosixPath(folder), pattern) == expected


@pytest.mark.parametrize("name", [*FILES, "inside", "up/link", "folder/a.txt", "x/../a.txt"])
def test_a_file_has_the_same_bytes(trees: tuple[WorkTree, GitTree], name: str) -> None:
    """Through links that stay in the tree, too."""
    disk, tree = trees
    path = PurePosixPath(name)
    assert tree.read(path, limit=1000) == disk.read(path, limit=1000)
    assert tree.read(path, limit=4) == disk.read(path, limit=4)


@pytest.mark.parametrize(
    "name", ["absent", "x", "x/absent/y", "a.txt/b", "loop", "out", "absolute", "dangling", "folder"]
)
def test_what_can_not_be_read_fails_alike(trees: tuple[WorkTree, GitTree], name: str) -> None:
    """With the same kind of error, so that a finding says the same of both trees."""
    disk, tree = trees
    path = PurePosixPath(name)
    with pytest.raises((OSError, OutsideRoot, RuntimeError)) as on_disk:
        disk.read(path, limit=10)
    with pytest.raises((OSError, OutsideRoot)) as in_git:
        tree.read(path, limit=10)
    if name != "loop":  # Path.resolve has its own error for it
        assert in_git.type is on_disk.type


def test_a_missing_object_is_an_error_not_a_download(campaign: Any, tmp_path: Path) -> None:
    """A partial clone: the file that is not there is not fetched behind one's back."""
    campaign.git("config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone"
    campaign.git("clone", "-q", "--no-checkout", "--filter=blob:none", campaign.folder.as_uri(), str(clone))
    (campaign.folder / ".git").rename(campaign.folder / "gone")
    with Repository(clone) as repository:
        tree = repository.tree(repository.revision("origin/main"))
        with pytest.raises(UsageError, match="not in this clone"):
            tree.read(PurePosixPath("garden.yaml"), limit=10)


def test_closing_ends_the_reader(campaign: Any) -> None:
    """No process is left behind."""
    with Repository(campaign.folder) as repository:
        repository.tree(repository.revision("main")).read(PurePosixPath("garden.yaml"), limit=10)
        reader = repository._batch
        assert reader is not None
    assert reader.returncode == 0


@pytest.mark.parametrize("name", ["..", ".git", ".GIT ", "git~1"])
def test_a_path_that_no_checkout_has_is_refused(campaign: Any, name: str) -> None:
    """A tree that was made by hand: read without a checkout, it would name files outside the campaign."""

    def made(lines: str) -> str:
        ended = subprocess.run(
            ["git", "mktree", "--missing"], cwd=campaign.folder, input=lines, capture_output=True, text=True, check=True
        )
        return ended.stdout.strip()

    blob = campaign.git("rev-parse", "HEAD:garden.yaml")
    tree = made(f"040000 tree {made(f'100644 blob {blob}{chr(9)}a.yaml{chr(10)}')}\t{name}\n")
    commit = campaign.git("commit-tree", "-m", "x", tree)
    with Repository(campaign.folder) as repository, pytest.raises(UsageError, match="a path that no checkout has"):
        repository.tree(repository.revision(commit))
