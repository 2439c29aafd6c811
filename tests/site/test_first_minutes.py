"""The tutorial in a terminal, from ``pip install`` of the wheel to a reviewed plan that is run; prints the seconds.

    python3 dev.py test --slow tests/site/test_first_minutes.py

Every command is the page's. The wheel is built here and comes from a folder, its dependencies from this environment: no
network is needed.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyte
import pytest

from tests import terminals
from tests.canary import CANARY
from tests.gallery.conftest import chromium as chromium
from tests.gallery.conftest import page as page
from tests.gallery.test_walkthrough import Viewer
from tests.reader import Reader, commands, says
from tests.site.test_tutorial import DOCS, TUTORIAL, look

ROOT = DOCS.parent
ROWS, COLUMNS = 400, 200
PROMPT = re.compile(rb"<<(\d+)>>")
WORDS_A_MINUTE = 200  # of technical prose, read with care


class Terminal:
    """bash in a pseudo-terminal; ``type`` returns what a person sees below the command."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._screen, self._bash = terminals.start(
            ["bash", "--norc", "--noprofile", "--noediting", "-i"],
            folder,
            {**environment, "TERM": "xterm", "PS1": "<<$?>>", "PS2": ""},
            columns=COLUMNS,
            lines=ROWS,
        )
        self._until_prompt()
        self.type("stty -echo")

    def type(self, command: str) -> tuple[int, str]:
        """The exit code of a command, and the screen after it."""
        os.write(self._screen, command.encode() + b"\n")
        code, shown = self._until_prompt()
        screen = pyte.Screen(COLUMNS, ROWS)
        pyte.ByteStream(screen).feed(shown)
        lines = [line.rstrip() for line in screen.display]
        return code, "\n".join(lines).strip("\n") + "\n" if any(lines) else ""

    def _until_prompt(self) -> tuple[int, bytes]:
        shown, ends = b"", time.monotonic() + 600
        while (found := PROMPT.search(shown)) is None:
            ready, _, _ = select.select([self._screen], [], [], max(0, ends - time.monotonic()))
            assert ready, f"no prompt after {shown!r}"
            shown += os.read(self._screen, 65536)
        return int(found[1]), shown[: found.start()]

    def close(self) -> None:
        """End bash."""
        os.close(self._screen)
        self._bash.wait()


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """The folder with the wheel of this checkout."""
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    folder = tmp_path / "wheel"
    script = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(folder)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture
def terminal(tmp_path: Path, wheel: Path) -> Iterator[Terminal]:
    """A person's: no program of this checkout is on its path."""
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    reader = Reader(tmp_path / "unused")
    environment = {
        **reader.environment,
        "HOME": str(home),
        "PATH": f"{home / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheel),
        "PIP_NO_DEPS": "1",
        "VIRTUAL_ENV_DISABLE_PROMPT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    shell = Terminal(home, environment)
    yield shell
    shell.close()


def lend_dependencies(venv: Path) -> None:
    """The packages that the lock has, from the environment of the tests: they are not downloaded again."""
    site = next(venv.glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")


@pytest.mark.slow
def test_the_first_minutes(tmp_path: Path, terminal: Terminal, page: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command of the tutorial, typed; the page's output is on the screen."""
    home, took = tmp_path / "home", dict[str, float]()
    viewer = Viewer(tmp_path / "viewer", "", page)
    viewer.folder, viewer.downloads = home / "campaign", home / "Downloads"
    viewer.downloads.mkdir()
    saving = {"behavior": "allow", "downloadPath": str(viewer.downloads)}
    page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", saving)
    for heading, blocks in TUTORIAL.items():
        begun = time.monotonic()
        if heading == "Choose":
            look(viewer)
        for block in blocks:
            if block.title:
                viewer.write(block)
            for command, printed in commands(block.text) if block.language == "console" else ():
                code, shown = terminal.type(viewer.typed(command))
                assert code == 0, f"$ {command}\n{shown}"
                assert says(shown, printed), f"$ {command}\n{shown}\nthe page has:\n{printed}"
                viewer.digest = (re.findall(r"sha256:[0-9a-f]{64}", shown) or [viewer.digest])[-1]
                if command.startswith("pip install"):
                    lend_dependencies(home / "seedream")
        if blocks:
            took[heading] = time.monotonic() - begun
    assert terminal.type("which seedream-jobs")[1].strip() == str(home / "seedream" / "bin" / "seedream-jobs")
    assert CANARY not in str(terminal.type("env"))
    words = len(re.sub(r"^```.*?^```", "", (DOCS / "tutorial.md").read_text("utf-8"), flags=re.M | re.S).split())
    commanded, minutes = sum(took.values()), words / WORDS_A_MINUTE
    with capsys.disabled():
        print("\nThe tutorial, in a terminal:")
        print(*(f"{seconds:7.1f} s  {heading}" for heading, seconds in took.items()), sep="\n")
        print(f"{commanded:7.1f} s  all commands, and the browser")
        print(f"{minutes * 60:7.1f} s  {words} words, {WORDS_A_MINUTE} a minute")
        print(f"{commanded / 60 + minutes:7.1f} min in all")
