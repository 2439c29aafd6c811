"""What a tree names is opened inside its root or not at all: whatever its text, and whoever swaps folders meanwhile."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import threading
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seedream_jobs import inside as module
from seedream_jobs.atomic_file import DISK, check_folder, confined, link_or_copy, place, write_whole
from seedream_jobs.errors import UsageError
from seedream_jobs.inside import (
    OutsideRoot,
    Withheld,
    check_no_link,
    find_misread,
    is_gits,
    locate,
    open_in,
    open_record,
    read_start,
)
from seedream_jobs.job import ignored
from seedream_jobs.job.files import WorkTree
from seedream_jobs.job.ignored import IgnoreRules
from seedream_jobs.ledger.lock import lock_file
from seedream_jobs.ledger.paths import keep_private
from tests.hostile.tree import git

INSIDE, OUTSIDE = b"inside", b"outside"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with one tracked file."""
    made = tmp_path / "repo"
    made.mkdir()
    (made / "tracked").touch()
    git(tmp_path, "init", "-q", "repo")
    git(made, "add", "tracked")
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with links of every kind, and files beside it."""
    root = tmp_path / "root"
    for name in ("a", "sub/a", "sub/deep/a", "-x", "~"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(INSIDE)
    (tmp_path / "away").mkdir()
    for name in ("a", "away/a", ".env", "rootlike"):
        (tmp_path / name).write_bytes(OUTSIDE)
    (root / ".git").mkdir()
    for name in (".git/config", ".env", ".env.local", "sub/.ENV"):
        (root / name).write_bytes(OUTSIDE)
    links = {
        "up": "..",
        "out": "../away",
        "sub/out": "../../a",
        "to": "sub/a",
        "sub/to": "../a",
        "folder": "sub",
        "top": "/",
        "round": "round",
        "git": ".git",
        "key": ".env",
        "null": "/dev/zero",
        "here": ".",
        "again": "../root/a",
        "gone": "nowhere",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / "pipe")
    return root


PARTS = st.sampled_from(
    [
        ".",
        "..",
        "",
        "a",
        "sub",
        "deep",
        "up",
        "out",
        "to",
        "folder",
        "top",
        "round",
        "git",
        ".git",
        ".GIT",
        "key",
        ".env",
        "away",
        "root",
        "rootlike",
        "null",
        "here",
        "again",
        "gone",
        "pipe",
        "config",
        "-x",
        "~",
        "\x00",
        "\ud800",
        "x" * 300,
        "git~1",
        ".ENV",
        ".env.local",
        "etc",
        "passwd",
        "tmp",
        "C:",
        "\\",
        "..\\a",
        "%2e%2e",
    ]
)
TEXTS = st.lists(PARTS | st.text(max_size=3), max_size=7).map("/".join)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
def test_whatever_the_text(root: Path, text: str) -> None:
    """What is read lies inside, and is nothing that is withheld; all else raises what callers handle."""
    for path in (text, str(root / text)):
        try:
            descriptor = open_in(root, path)
        except (OSError, OutsideRoot):
            continue
        assert read_start(descriptor, 100) == INSIDE, path


@pytest.mark.parametrize(
    "name", ["a", "to", "sub/to", "folder/a", "here/here/a", "again", "-x", "~", "folder/deep/../a"]
)
def test_what_stays_inside_is_read(root: Path, name: str) -> None:
    """Links that end inside are followed, also where they pass by the outside."""
    assert read_start(open_in(root, name), 100) == INSIDE


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("up/a", OutsideRoot),
        ("out/a", OutsideRoot),
        ("top/etc/passwd", OutsideRoot),
        ("null", OutsideRoot),
        ("../a", OutsideRoot),
        ("/etc/passwd", OutsideRoot),
        ("a\0", OutsideRoot),
        ("git/config", Withheld),
        ("key", Withheld),
        (".env.local", Withheld),
        ("sub/.ENV", Withheld),
        ("sub", IsADirectoryError),
        (".", IsADirectoryError),
        ("gone", FileNotFoundError),
        ("a/b", NotADirectoryError),
        ("pipe", OSError),
        ("round", OSError),
        ("x" * 300, OSError),
    ],
)
def test_what_does_not(root: Path, name: str, error: type[Exception]) -> None:
    """Each in its own words; nothing is waited for."""
    with pytest.raises(error):
        open_in(root, name)


def test_no_descriptor_is_left_open(root: Path) -> None:
    """Neither by what is read nor by what is refused."""
    before = len(os.listdir("/proc/self/fd"))
    for name in ("sub/deep/a", "sub/pipe", "pipe", "sub", "out/a", "gone", "a/b/c", "sub/none/a"):
        try:
            read_start(open_in(root, name), 10)
        except (OSError, OutsideRoot):
            continue
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("name", "where", "why"),
    [
        (".git", ".git", "it is in git's own folder"),
        ("git/config", ".git/config", "it is in git's own folder"),
        (".env", ".env", ".env may hold keys, and no job reads it"),
        ("key", ".env", ".env may hold keys, and no job reads it"),
        (".env.local", ".env.local", ".env.local may hold keys, and no job reads it"),
        ("folder/.ENV", "sub/.ENV", ".ENV may hold keys, and no job reads it"),
    ],
)
def test_what_is_withheld_says_why_and_what_to_do(root: Path, name: str, where: str, why: str) -> None:
    """With the file that the links lead to."""
    with pytest.raises(Withheld) as caught:
        open_in(root, name)
    error = caught.value
    assert (error.errno, error.strerror, error.filename) == (errno.EACCES, why, where)
    assert error.hint == "copy what the job needs to a file of its own"


def test_names_beside_the_environments_are_open(root: Path) -> None:
    """``.envrc`` and ``x.env`` may be anything."""
    for name in (".envrc", "x.env", ".environment"):
        (root / name).write_bytes(INSIDE)
        assert read_start(open_in(root, name), 100) == INSIDE


@pytest.mark.parametrize("name", ["../a", "a\0", "null", "/etc/passwd"])
def test_what_is_outside_is_named_as_it_was_written(root: Path, name: str) -> None:
    """Not as it was resolved: that would say what lies there."""
    with pytest.raises(OutsideRoot) as caught:
        open_in(root, name)
    assert str(caught.value) == name


def test_what_is_no_regular_file_says_so(root: Path, tmp_path: Path) -> None:
    """Folders as the system does, in each way of opening; pipes, and links where none is followed, in our words."""
    no_file, link = "it is no regular file", "it is a symbolic link, which is not followed here"
    said = [
        *((lambda name=name: open_in(root, name), errno.EISDIR, os.strerror(errno.EISDIR), name)
          for name in ("sub", ".", "folder")),
        (lambda: open_in(root, "pipe"), errno.EINVAL, no_file, "pipe"),
        (lambda: read_start(root / "pipe", 1), errno.EINVAL, no_file, str(root / "pipe")),
        (lambda: read_start(root / "sub", 1), errno.EISDIR, os.strerror(errno.EISDIR), str(root / "sub")),
        (lambda: open_record(root / "pipe"), errno.EINVAL, no_file, str(root / "pipe")),
        (lambda: open_record(root / "sub"), errno.EISDIR, os.strerror(errno.EISDIR), str(root / "sub")),
        (lambda: open_record(root / "to"), errno.ELOOP, link, str(root / "to")),
        (lambda: open_record(root / "none"), errno.ENOENT, os.strerror(errno.ENOENT), str(root / "none")),
        (lambda: check_no_link(root / "to"), errno.ELOOP, link, str(root / "to")),
        (lambda: check_no_link(root / "gone"), errno.ELOOP, link, str(root / "gone")),
        (lambda: check_no_link(root / "pipe"), errno.EINVAL, no_file, str(root / "pipe")),
    ]  # fmt: skip
    for attempt, code, words, name in said:
        with pytest.raises(OSError) as caught:  # noqa: PT011  (its fields are looked at)
            attempt()
        assert (caught.value.errno, caught.value.strerror, caught.value.filename) == (code, words, name)
    for name in ("a", "sub", "none"):  # a folder's own error says more
        check_no_link(root / name)
    os.close(open_record(root / "a"))


def test_the_start_of_a_file_is_as_long_as_asked_for(tmp_path: Path) -> None:
    """By a path, whose links are followed, and by a descriptor; also where the system gives it in pieces."""
    big = os.urandom((2 << 20) + 5)
    (tmp_path / "big").write_bytes(big)
    (tmp_path / "link").symlink_to("big")
    for limit in (0, 1, 1 << 20, (1 << 20) + 1, len(big), len(big) + 1):
        assert read_start(tmp_path / "link", limit) == big[:limit]
        assert read_start(open_in(tmp_path.resolve(), "big"), limit) == big[:limit]


def test_a_file_is_opened_with_the_flags_that_the_system_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, or none on a system such as Windows, which has one of its own for bytes that stay as they are."""

    def flags(**named: int) -> tuple[int, int, int]:
        for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_PATH", "O_DIRECTORY"):
            monkeypatch.delattr(os, name, raising=False)
        for name, flag in named.items():
            monkeypatch.setattr(os, name, flag, raising=False)
        monkeypatch.delitem(sys.modules, module.__name__)
        anew = importlib.import_module(module.__name__)
        return anew._READ, anew._LAST, anew._FOLDER

    monkeypatch.setattr("seedream_jobs.inside", module)  # the package's name for it, put back at the end
    assert flags(O_RDONLY=128, O_BINARY=2) == (130, 130, 128)
    assert flags(O_RDONLY=128, O_NOFOLLOW=4, O_NONBLOCK=8, O_NOCTTY=16, O_PATH=32, O_DIRECTORY=64) == (128, 156, 96)


def test_a_path_ends_where_its_links_lead(root: Path) -> None:
    """Relative to the root, in parts; the root itself has none."""
    assert locate(root, "folder/to") == PurePosixPath("a")
    assert locate(root, "sub/deep/a") == PurePosixPath("sub/deep/a")
    assert locate(root, "here").parts == ()


def test_a_folder_that_is_swapped_meanwhile(tmp_path: Path) -> None:
    """A thread puts a link out in a folder's place, and back: what is read is the inside, or nothing."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "away").mkdir()
    (root / "sub/a").write_bytes(INSIDE)
    (tmp_path / "away/a").write_bytes(OUTSIDE)
    (root / "link").symlink_to(tmp_path / "away")
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            (root / "sub").rename(root / "kept")
            (root / "link").rename(root / "sub")
            (root / "sub").rename(root / "link")
            (root / "kept").rename(root / "sub")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        read = 0
        for _ in range(3000):
            try:
                assert read_start(open_in(root, "sub/a"), 10) == INSIDE
                read += 1
            except (OSError, OutsideRoot):
                continue
    finally:
        ended.set()
        thread.join()
    assert read


@pytest.mark.parametrize(
    "name",
    [
        ".git",
        ".GIT",
        ".Git ",
        ".git.",
        ".git::$INDEX_ALLOCATION",
        "GIT~1",
        "git~1",
        ".g\u200cit",
        ".git. . ",
        "\ufeff.git",
        ".git:x",
    ],
)
def test_spellings_of_gits_folder(name: str) -> None:
    """As git itself guards against."""
    assert is_gits(name)


@pytest.mark.parametrize(
    "name", [".gitignore", "git", ".github", "x.git", "git~2", "git:x", ". git", ".git.x", "x:.git", ".g it"]
)
def test_other_names(name: str) -> None:
    """What only looks like it is not git's."""
    assert not is_gits(name)


DEVICE = "is a name that Windows keeps for a device"
ENDS = "begins or ends with a space, or ends with a dot, which Windows leaves out"
SPECIAL = 'has one of \\ : * ? " < > |, which Windows takes for something else'
JOINED = "has letters and accents as separate characters, which macOS joins (write it in NFC)"
TAKEN = "which a shell or a command takes for something else"


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("is empty", [""]),
        ("is only dots", [".", ".."]),
        (DEVICE, ["CON", "prn", "nul.txt", "Com1", "lpt9.tar.gz", "com¹", "com²", "LPT³", "com0", "aux .txt", "CONIN$",
                  "conout$", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))]),
        (SPECIAL, ["C:", *(f"a{special}b" for special in '\\:*?"<>|')]),
        (f"begins with -, {TAKEN}", ["-rf", "-"]),
        (f"begins with ~, {TAKEN}", ["~", "~u"]),
        (ENDS, ["a.", "a ", " a", "é.", "\u3000a", "x" * 50 + "."]),
        (JOINED, ["e\u0301", "\u1112\u1161\u11ab"]),
        ("has the invisible character U+202E", ["a\u202eb"]),
        ("has the invisible character U+200B", ["a\u200bb"]),
        ("has the invisible character U+000A", ["a\nb"]),
        ("has the invisible character U+007F", ["a\x7fb"]),
        ("has the invisible character U+0085", ["a\x85b"]),
        ("has the invisible character U+2028", ["a\u2028b"]),
        ("has the invisible character U+2029", ["a\u2029b"]),
        ("has the invisible character U+D800", ["a\ud800b"]),
        ("has 201 bytes: at most 200", ["x" * 201]),
        ("has 204 bytes: at most 200", ["花" * 68]),
    ],
)  # fmt: skip
def test_names_that_are_misread(said: str, names: list[str]) -> None:
    """On Windows, macOS or by a shell."""
    assert {name: find_misread(name) for name in names} == dict.fromkeys(names, said)


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "console",
        "com10",
        "a b",
        "é",
        "한국어",
        "花",
        "a-rf",
        "x~1",
        "null",
        "a.tar.gz",
        ".x",
        "x" * 200,
        "花" * 66,
        "a+b=c,d~e-f",
        "é" * 49,
        "x" * 50,
        "com",
        "lpt",
        "com¼",
        "prnx",
        "…",
        "a.con",
    ],
)
def test_names_that_are_not(name: str) -> None:
    """Letters of any script, dashes and dots within."""
    assert find_misread(name) is None


# -- writing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["up", "out", "out/new", "top", "git", "git/refs", ".git/x", "round", "gone", "a", "a/b", "x/" * 3000]
)
def test_folders_that_are_refused(root: Path, name: str) -> None:
    """One that leads out, nowhere or into git's, a file, a path that is too long."""
    with pytest.raises(UsageError):
        check_folder(root, root / name)


@pytest.mark.parametrize("name", ["new/deep", "sub", "folder", "folder/new", "here/new"])
def test_folders_that_are_not(root: Path, name: str) -> None:
    """Real ones, and links that end inside."""
    check_folder(root, root / name)


def test_outputs_stay_out_of_gits_folder(root: Path) -> None:
    """Through a link as well."""
    for output in (".git/x", "git/x", "sub/../.git/hooks/x", ".GIT/x"):
        with pytest.raises(UsageError):
            confined(root, root, output)


def test_nothing_is_written_through_a_link(root: Path, tmp_path: Path) -> None:
    """Neither by a name nor by the temporary one before it: locks, journals, records, images, ignore files."""
    victim = tmp_path / "victim"
    victim.write_bytes(OUTSIDE)
    for name in ("lock", "journal", ".record.part", "record", "image.jpeg"):
        (root / name).symlink_to(victim)
    with pytest.raises(UsageError, match="can't be a lock"):
        lock_file(root / "lock", command="run", now=0)
    with pytest.raises(OSError, match="symbolic link"):
        DISK.create(root / "journal")
    with pytest.raises(OSError, match="symbolic link"):
        DISK.append(root / "journal")
    with pytest.raises(OSError, match="symbolic link"):
        DISK.snapshot(root / "journal")
    write_whole(root / "record", [INSIDE])
    assert (root / "record").read_bytes() == INSIDE
    assert not (root / "record").is_symlink()
    (root / "temp").write_bytes(OUTSIDE)
    placed = place(root / "temp", root / "image", ".jpeg", "0" * 64)
    assert placed.name == "image-2.jpeg"
    with pytest.raises(OSError, match="symbolic link"):
        link_or_copy(root / "image.jpeg", root / "copy")
    (root / ".seedream").mkdir()
    (root / ".seedream/.gitignore").symlink_to(tmp_path / "new")
    keep_private(root / ".seedream")
    assert not (tmp_path / "new").exists()
    assert victim.read_bytes() == OUTSIDE


# -- what git ignores --------------------------------------------------------------------------------------------------


def test_one_git_answers_for_all_files(repo: Path) -> None:
    """Ten files, one process; a file that git tracks is not ignored; it ends with the rules."""
    (repo / ".gitignore").write_text("*.txt\n!keep.txt\nfolder/\n")
    names = ["a.txt", "b.md", "keep.txt", "folder/b.md", "x\ny.txt", ":(top)a.txt", "*.txt", "-z.txt"]
    rules = IgnoreRules(repo)
    ignored = [True, False, False, True, True, True, True, True]
    for _ in range(2):  # asked, and known
        assert [bool(rules.among([PurePosixPath(name)])) for name in names] == ignored
    process = rules._process
    assert process is not None
    assert process.poll() is None
    del rules
    assert process.poll() is not None


def test_many_files_are_asked_about_at_once(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A glob of thousands: a hundred and more names are one question, and a folder is looked at once."""
    (repo / ".gitignore").write_text("*7.png\n" + "x" * 3000 + "\n")
    (repo / "below").mkdir()
    git(repo / "below", "init", "-q")
    (repo / "below" / ".gitignore").write_text("*.png\n!*7.png\n")
    questions, looked = [], []
    timer, is_repository = threading.Timer, ignored.is_repository
    monkeypatch.setattr(threading, "Timer", lambda *given: questions.append(1) or timer(*given))
    monkeypatch.setattr(ignored, "is_repository", lambda folder: looked.append(1) or is_repository(folder))
    paths = [PurePosixPath(folder, f"{number}.png") for folder in ("a/b", "below/c") for number in range(3000)]
    found = IgnoreRules(repo).among(paths)
    assert found == {path for path in paths if (path.parts[0] == "a") == path.stem.endswith("7")}
    assert (len(questions) < 20, len(looked)) == (True, 7)


def test_where_git_can_not_say(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read then; a policy that lists the file is the way out. Without git nothing is ignored."""
    (repo / "a.txt").write_bytes(INSIDE)
    (repo / ".git/index").write_bytes(b"broken")
    path = PurePosixPath("a.txt")
    with pytest.raises(Withheld, match="git can't say"):
        WorkTree(repo, ignored=IgnoreRules(repo)).read(path, limit=9)
    assert WorkTree(repo, ignored=IgnoreRules(repo), listed=lambda _: True).read(path, limit=9) == INSIDE
    monkeypatch.setenv("PATH", "/nowhere")
    assert WorkTree(repo, ignored=IgnoreRules(repo)).read(path, limit=9) == INSIDE


@pytest.mark.parametrize(
    ("name", "can_be", "device", "misread"),
    [
        ("garden.yaml", True, False, False),
        ("a\0b", False, False, True),
        ("half\ud800", False, False, True),
        ("kept\udcff", True, False, True),
        ("con", True, True, True),
        ("CON .txt", True, True, True),
        ("CONX", True, False, False),
        ("conn.txt", True, False, False),
        ("-rf", True, False, True),
        ("~", True, False, True),
        ("Xé", True, False, False),
    ],
)
def test_a_name_as_every_system_takes_it(name: str, can_be: bool, device: bool, misread: bool) -> None:
    """Whether a file can be called so at all, whether Windows takes it for a device, whether anything misreads it."""
    assert module.can_be_a_name(name) is can_be
    assert module.is_device(name) is device
    assert (module.find_misread(name) is not None) is misread
