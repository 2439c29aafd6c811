"""The one key of the suite, its spellings, and the search for them in all that tests write and commands print.

A pytest plugin, registered by ``tests/conftest.py``. Searched: every file below the base folder of pytest's temporary
ones when a session (with xdist, each worker's) ends, what every child process says through ``communicate``, and what
``capsys``, ``capfd`` and pytest itself capture. A test whose own files hold the key says so: ``canary.own(PATH)``; one
whose job says it, so that the screen does, too: ``canary.plant()``.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

CANARY = "sk-CANARY-9f31c2a07b55e1d4"
PIECE = 8
LARGEST = 64 << 20
"""Bytes of a file that are searched: the suite writes no larger text."""

found: list[str] = []
"""Where the key was given away in this session, each with the test."""
_own: set[str] = set()
_planted: set[str] = set()


def spellings(secret: str) -> list[str]:
    """Texts that give a secret away: itself, reversed, in hex, percent-encoded, in base64 at each alignment."""
    raw = secret.encode()
    shifted = [base64.b64encode(b"\0" * by + raw).decode()[4 if by else 0 : -4] for by in range(3)]
    return [secret, secret[::-1], raw.hex(), raw.hex().upper(), quote(secret, safe="").replace("-", "%2D"), *shifted]


def _needles() -> frozenset[bytes]:
    """Each piece of 8 characters in every spelling, in lower case; of base64 what no neighbour has a part in."""
    made: set[str] = set()
    for at in range(len(CANARY) - PIECE + 1):
        for piece in (CANARY[at : at + PIECE], CANARY[at : at + PIECE][::-1]):
            raw = piece.encode()
            made |= {piece, raw.hex(), "".join(f"%{one:02x}" for one in raw), quote(piece).replace("-", "%2D")}
            for before in range(3):
                coded = base64.b64encode(bytes(before) + raw).decode()[-(-before * 4 // 3) : (before + PIECE) * 8 // 6]
                made |= {coded, coded.replace("+", "-").replace("/", "_")}
    return frozenset(one.lower().encode() for one in made)


NEEDLES = _needles()
# Every needle holds a window of 4 bytes that begins at a multiple of 4: one look at these spares most files the search.
_WINDOWS = frozenset(
    int.from_bytes(needle[at : at + 4], sys.byteorder) for needle in NEEDLES for at in range(len(needle) - 3)
)


def gives_away(content: bytes) -> bytes | None:
    """The first piece of the key in some bytes, as it is spelled there."""
    lower = content.lower()
    words = memoryview(lower[: len(lower) // 4 * 4]).cast("I")
    if _WINDOWS.isdisjoint(words):
        return None
    return next((needle for needle in NEEDLES if needle in lower), None)


def own(path: Path) -> Path:
    """Note that a test wrote the key into this file, or all files of this folder, itself."""
    _own.add(os.path.abspath(path))
    return path


def plant() -> None:
    """Note that this test puts the key into a text that is shown, and looks at what is said of it itself."""
    _planted.add(os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0])


def search(folder: Path) -> list[str]:
    """The files below a folder that give the key away, and no test wrote it into."""
    told = []
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if os.path.join(where, name) not in _own]
        for name in files:
            file = os.path.join(where, name)
            if file in _own or not os.path.isfile(file) or os.path.islink(file):
                continue
            try:
                with open(file, "rb") as opened:
                    piece = gives_away(opened.read(LARGEST)) or gives_away(os.fsencode(name))
            except PermissionError:
                continue
            if piece is not None:
                told.append(f"{file} has {piece.decode()!r}")
    return told


def _said(where: str, *texts: str | bytes | None) -> None:
    if any(test in os.environ.get("PYTEST_CURRENT_TEST", where) for test in _planted):
        return
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        if raw and (piece := gives_away(raw)) is not None:
            found.append(f"{os.environ.get('PYTEST_CURRENT_TEST', '?')}: {where} has {piece.decode()!r}")


_communicate = subprocess.Popen.communicate
_readouterr = pytest.CaptureFixture.readouterr


def _heard(self: subprocess.Popen[Any], *arguments: Any, **options: Any) -> tuple[Any, Any]:
    out, err = _communicate(self, *arguments, **options)
    _said(f"output of {str(self.args)[:80]}", out, err)
    return out, err


def _captured(self: pytest.CaptureFixture[Any]) -> Any:
    result = _readouterr(self)
    _said("captured output", *result)
    return result


@pytest.fixture(scope="session", autouse=True)
def no_key_is_given_away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that this session wrote or printed holds the key, in any spelling."""
    patch = pytest.MonkeyPatch()
    patch.setattr(subprocess.Popen, "communicate", _heard)
    patch.setattr(pytest.CaptureFixture, "readouterr", _captured)
    yield
    patch.undo()
    told = [*found, *search(tmp_path_factory.getbasetemp())]
    assert not told, "the key was given away:\n" + "\n".join(told[:20])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """What pytest captured of a test, before it is shown."""
    outcome: Any = yield
    for name, text in outcome.get_result().sections:
        _said(f"{name} of {item.nodeid}", text)
