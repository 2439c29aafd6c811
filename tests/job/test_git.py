"""git is asked in an environment of its own, and the work tree is compared without what a repository names."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from seedream_jobs.errors import UsageError
from seedream_jobs.job.git import git_environment, is_tracked, run_git
from seedream_jobs.plans.revisions import Repository, ignored

Git = Callable[..., str]

SHOWS_ITS_ENVIRONMENT = '#!/bin/sh\nenv >> "{log}"\nexec "{git}" "$@"\n'


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """Runs git in ``tmp_path/repo``, a repository with one commit."""
    folder = tmp_path / "repo"
    folder.mkdir()
    identity = {f"GIT_{role}_{part}": "x@x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", **identity}

    def run(*words: str) -> str:
        ended = subprocess.run(["git", *words], cwd=folder, env=environment, check=True, capture_output=True, text=True)
        return ended.stdout

    run("init", "-q", "-b", "main")
    (folder / "a.txt").write_text("a\n")
    run("add", "-A")
    run("commit", "-q", "-m", "one")
    return run


def test_git_gets_what_a_list_names_and_nothing_else() -> None:
    """No key, no token, nothing of a hook: whatever variable comes into being, it stays here."""
    secrets = {
        "APIMART_API_KEY": "k",
        "APIMART_API_KEY_FILE": "/k",
        "GH_TOKEN": "t",
        "GIT_DIR": "/elsewhere/.git",
        "GIT_EXTERNAL_DIFF": "/bin/evil",
        "GIT_SSH_COMMAND": "/bin/evil",
        "GIT_ASKPASS": "/bin/evil",
        "GIT_TRACE": "/tmp/log",
        "LD_PRELOAD": "/evil.so",
        "PAGER": "/bin/evil",
        "ANYTHING": "new",
    }
    made = git_environment({"PATH": "/bin", "HOME": "/home/x", **secrets})
    assert not made.keys() & secrets.keys()
    assert (made["PATH"], made["HOME"], made["LC_ALL"], made["GIT_TERMINAL_PROMPT"]) == ("/bin", "/home/x", "C", "0")


@pytest.mark.parametrize("place", [".", "", "bin", "./bin", "~/bin"])
def test_a_program_of_the_campaign_is_not_taken_for_git(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A relative place in PATH leads into the tree, where anybody may have put a program of that name."""
    for folder in (tmp_path / "repo", tmp_path / "repo" / "bin"):
        folder.mkdir(exist_ok=True)
        (folder / "git").write_text("#!/bin/sh\ntouch ran\n")
        (folder / "git").chmod(0o755)
    monkeypatch.chdir(tmp_path / "repo")
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    assert run_git(tmp_path / "repo", "ls-files", "-z").stdout == b"a.txt\0"
    assert not (tmp_path / "repo" / "ran").exists()
    monkeypatch.setenv("PATH", place)
    with pytest.raises(UsageError, match="git is not installed"):
        run_git(tmp_path / "repo", "ls-files")


def test_git_may_read_what_the_caller_trusts(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository of another owner is read where the operator, or their container, says so; else it is refused."""
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    os.chown(tmp_path / "repo", 4242, 4242)
    os.chown(tmp_path / "repo" / ".git", 4242, 4242)
    with pytest.raises(UsageError, match="dubious ownership"):
        Repository(tmp_path / "repo")
    with monkeypatch.context() as patch:
        patch.setenv("GIT_CONFIG_PARAMETERS", "'user.name'='x' 'safe.directory'='*'")
        Repository(tmp_path / "repo").close()
    with monkeypatch.context() as patch:
        patch.setenv("GIT_CONFIG_COUNT", "2")
        patch.setenv("GIT_CONFIG_KEY_1", "safe.directory")
        patch.setenv("GIT_CONFIG_VALUE_1", "*")
        Repository(tmp_path / "repo").close()
    (tmp_path / ".gitconfig").write_text("[safe]\n\tdirectory = *\n")
    Repository(tmp_path / "repo").close()


@pytest.mark.parametrize(
    ("name", "value"), [("GIT_CONFIG_COUNT", "99999999999"), ("GIT_CONFIG_COUNT", "-1"), ("GIT_CONFIG_PARAMETERS", "'")]
)
def test_a_configuration_that_can_not_be_read_is_none(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Nothing loops, nothing is trusted."""
    monkeypatch.setenv(name, value)
    assert run_git(tmp_path / "repo", "ls-files").returncode == 0


def test_a_git_that_never_ends_is_left(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time, in one line."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("seedream_jobs.job.git.SECONDS", 0.2)
    with pytest.raises(UsageError, match="did not end"):
        run_git(tmp_path / "repo", "ls-files")


def answers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, does: str) -> None:
    """A git that does this in place of one command."""
    folder = tmp_path / "bin"
    folder.mkdir()
    real = shutil.which("git")
    (folder / "git").write_text(f'#!/bin/sh\ncase "$*" in *{command}*) {does} ;; esac\nexec {real} "$@"\n')
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize("does", ["exec sleep 60", "echo x; exec sleep 60", 'read line; echo "$line blob 99"; exit'])
def test_objects_that_never_come_are_not_waited_for(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    """Nor does half of one count: the reader is ended, and the next object is asked of another."""
    oid = git("rev-parse", "HEAD:a.txt").strip()
    answers_nothing(tmp_path, monkeypatch, "--batch", does.replace("echo x", "printf x"))
    monkeypatch.setattr("seedream_jobs.job.git.SECONDS", 0.5)
    with Repository(tmp_path / "repo") as repository:
        with pytest.raises(UsageError, match="git broke off"):
            repository.blob(oid)
        (tmp_path / "bin/git").unlink()
        assert repository.blob(oid) == b"a\n"


@pytest.mark.parametrize("does", ["echo no >&2; exit 128", "exec sleep 60", "kill -9 $$"])
def test_records_that_git_says_nothing_about_are_a_finding(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    """They may be ignored, and be in no commit after they were paid."""
    root = tmp_path / "repo"
    assert ignored([root / "a.manifest.jsonl"], root, "error") == ()
    answers_nothing(tmp_path, monkeypatch, "check-ignore", does)
    monkeypatch.setattr("seedream_jobs.job.git.SECONDS", 0.5)
    (found,) = ignored([root / "a.manifest.jsonl"], root, "error")
    assert (found.code, found.severity) == ("record-ignored", "error")
    assert "git can't say" in found.message


def test_a_file_is_tracked_by_any_of_its_names(git: Git, tmp_path: Path) -> None:
    """A link in a commit leads to a key as well as the key's own file does."""
    repo = tmp_path / "repo"
    (repo / "to-a").symlink_to("a.txt")
    (repo / "out").symlink_to("../beside")
    (tmp_path / "beside").write_text("x")
    assert is_tracked(repo / "a.txt")
    assert is_tracked(repo / "to-a")
    assert not is_tracked(repo / "out")
    git("add", "out")
    assert is_tracked(repo / "out")
    assert not is_tracked(repo / "b.txt")
    assert not is_tracked(tmp_path / "beside")
    (repo / "[a].txt").write_text("x")  # a name, not a pattern
    assert not is_tracked(repo / "[a].txt")
    (repo / ".git" / "config").write_text("[core\n")
    with pytest.raises(UsageError, match="can't say whether"):
        is_tracked(repo / "a.txt")


def _same_size(repo: Path) -> None:
    before = (repo / "a.txt").stat()
    (repo / "a.txt").write_text("b\n")
    os.utime(repo / "a.txt", ns=(before.st_atime_ns, before.st_mtime_ns))


def _link_for_a_file(repo: Path) -> None:
    (repo / "a.txt").unlink()
    (repo / "a.txt").symlink_to("c")


def _pipe_for_a_file(repo: Path) -> None:
    (repo / "a.txt").unlink()
    os.mkfifo(repo / "a.txt")


CHANGES: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "nothing": (lambda repo: None, set()),
    "the time": (lambda repo: os.utime(repo / "a.txt", (1, 1)), set()),
    "one more byte": (lambda repo: (repo / "a.txt").write_text("aa\n"), {"a.txt"}),
    "as long and as old": (_same_size, {"a.txt"}),
    "it is gone": (lambda repo: (repo / "a.txt").unlink(), {"a.txt"}),
    "a link instead": (_link_for_a_file, {"a.txt"}),
    "a pipe instead": (_pipe_for_a_file, {"a.txt"}),
    "line ends": (lambda repo: (repo / "a.txt").write_bytes(b"a\r\n"), set()),
    "a new file": (lambda repo: (repo / "n").write_text("n"), {"n"}),
    "an ignored file": (lambda repo: (repo / "x.log").write_text("n"), set()),
    "a link that leads elsewhere": (lambda repo: [(repo / "l").unlink(), (repo / "l").symlink_to("b")], {"l"}),
    "a large file itself": (lambda repo: (repo / "big").write_bytes(b"large"), set()),
    "another large file": (lambda repo: (repo / "big").write_bytes(b"other"), {"big"}),
    "odd names": (lambda repo: (repo / "a\n100644 0 0\tb").write_text("n"), {"a\n100644 0 0\tb"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_work_tree_is_compared_by_what_it_holds(git: Git, tmp_path: Path, change: str) -> None:
    """Byte for byte, but for line ends and Git LFS, both of which git itself changes on the way."""
    repo, (do, expected) = tmp_path / "repo", CHANGES[change]
    pointer = hashlib.sha256(b"large").hexdigest()
    (repo / "big").write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{pointer}\nsize 5\n")
    (repo / "l").symlink_to("a.txt")
    (repo / ".gitignore").write_text("*.log\n")
    git("add", "-A")
    git("commit", "-q", "-m", "two")
    do(repo)
    with Repository(repo) as repository:
        assert repository.changed(repository.revision("HEAD"), None) == set(map(PurePosixPath, expected))
        found = repository.changed(repository.revision("HEAD~1"), None)
    assert found == set(map(PurePosixPath, expected | {"big", "l", ".gitignore"}))


def test_what_is_staged_is_compared_as_it_lies_there(git: Git, tmp_path: Path) -> None:
    """Also a file that left the index, a merge that is not done, and files that a sparse checkout leaves out."""
    repo = tmp_path / "repo"
    (repo / "b.txt").write_text("b\n")
    git("add", "b.txt")
    with Repository(repo) as repository:
        assert repository.changed(repository.revision("HEAD"), None) == {PurePosixPath("b.txt")}
        git("rm", "-q", "--cached", "a.txt")
        assert repository.changed(repository.revision("HEAD"), None) == {PurePosixPath("a.txt"), PurePosixPath("b.txt")}
        git("add", "a.txt")
        git("commit", "-q", "-m", "two")
        git("update-index", "--skip-worktree", "b.txt")
        (repo / "b.txt").unlink()
        assert repository.changed(repository.revision("HEAD"), None) == set()


def test_a_million_bytes_are_not_read_for_ten(git: Git, tmp_path: Path) -> None:
    """Of a large object only the beginning is kept, and the next one is read whole all the same."""
    repo = tmp_path / "repo"
    (repo / "large").write_bytes(b"x" * 3_000_001)
    git("add", "-A")
    git("commit", "-q", "-m", "large")
    with Repository(repo) as repository:
        tree = repository.tree(repository.revision("HEAD"))
        assert tree.read(PurePosixPath("large"), limit=10) == b"x" * 10
        assert tree.read(PurePosixPath("a.txt"), limit=10) == b"a\n"
