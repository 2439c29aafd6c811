"""The search for the key finds it wherever it is given away, in every spelling and piece, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.canary import CANARY, NEEDLES, gives_away, own, search, spellings

ROOT = Path(__file__).parents[1]
LEAK = f"""
import subprocess, sys
from tests.canary import CANARY, own

def test_a_file(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "record").write_text("x" * 1001 + CANARY[5:13][::-1].encode().hex())

def test_what_a_child_says():
    subprocess.run([sys.executable, "-c", "print('say', {CANARY[3:12]!r})"], capture_output=True)

def test_what_is_captured():
    print(CANARY)

def test_its_own_file(tmp_path):
    own(tmp_path / ".env").write_text(CANARY)
"""


@pytest.mark.parametrize("before", range(9))
def test_each_spelling_of_each_piece_is_found(before: int) -> None:
    """At every alignment, in any case; a piece of seven characters is not."""
    for spelled in [one.encode() for one in spellings(CANARY)] + sorted(NEEDLES):
        assert gives_away(b"\\xff" * before + spelled + b"...")
        assert gives_away(b"a" * before + spelled.upper())
    assert gives_away(CANARY[4:11].encode() * 3) is None
    assert gives_away(bytes(range(256)) * 50) is None


def test_files_of_all_folders_are_searched(tmp_path: Path) -> None:
    """Also hidden ones, and names of files; not what a test wrote itself."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_bytes(CANARY.encode())
    (tmp_path / f"{CANARY.lower()}.png").touch()
    own(tmp_path / ".env").write_text(CANARY)
    found = search(tmp_path)
    (tmp_path / ".git" / "config").unlink()
    (tmp_path / f"{CANARY.lower()}.png").unlink()
    assert len(found) == 2
    assert search(tmp_path) == []


def test_a_session_that_gives_the_key_away_fails(tmp_path: Path) -> None:
    """By a file, by a child's words, by what pytest captured: three are told, the test's own file is not."""
    (own(tmp_path) / "test_leak.py").write_text(LEAK)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.canary", "-p", "no:cacheprovider", "-p", "no:xdist"]
    ended = subprocess.Popen(
        [*command, "--rootdir", str(tmp_path), "--basetemp", str(tmp_path / "base"), "-c", "/dev/null", "test_leak.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert ended.stdout is not None
    said = ended.stdout.read()  # not by communicate, which would hear the key
    assert ended.wait() == 1, said
    ended.stdout.close()
    for where in ("deep/record has", "output of", "Captured stdout call of test_leak.py::test_what_is_captured has"):
        assert where in said
    assert ".env" not in said
