"""Who follows a page of the documentation: blocks that have a title become files, console blocks are typed.

Called by the tests of the tutorial, the cookbook and the walkthrough. A page's ``…`` is anything that a command prints;
a digest that a command names as ``sha256:…`` is the last one that was printed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.canary import CANARY

_ANA = {
    f"GIT_{who}_{part}": text for who in ("AUTHOR", "COMMITTER") for part, text in (("NAME", "A"), ("EMAIL", "a@b"))
}


class Block(NamedTuple):
    """A fenced block: its language, the file that its title names, its text."""

    language: str
    title: str
    text: str


def sections(page: Path) -> Iterator[tuple[str, list[Block]]]:
    """The page's title, then each ``##`` heading, with the blocks below it."""
    _, *parts = re.split(r"^(?:\A#|##) (.+)\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        found = re.findall(r'^```(\w+)(?: title="(.+?)")?\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
        yield heading, [Block(*block) for block in found]


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, and what the page says it prints."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        while command.endswith("\\"):
            more, _, printed = printed.partition("\n")
            command = f"{command}\n{more}"
        yield command, printed


def says(printed: str, page: str) -> bool:
    """Whether a command printed what the page says: ``…`` is anything, alone on a line any lines or none."""
    told = re.sub(r"^…\n", "…", page, flags=re.MULTILINE)
    return re.fullmatch(".*".join(map(re.escape, told.split("…"))), printed, re.DOTALL) is not None


class Reader:
    """A terminal in an empty folder, and a ``~/Downloads`` that a browser saves into."""

    def __init__(self, home: Path, url: str = "") -> None:
        self.folder, self.downloads = home / "campaign", home / "Downloads"
        self.home = home
        for folder in (self.folder, self.downloads):
            folder.mkdir(parents=True)
        self.environment = {
            **_ANA,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        if url:
            self.environment |= {"APIMART_BASE_URL": url, "APIMART_API_KEY": CANARY}
        self.digest = ""

    def run(self, command: str) -> str:
        """What a command prints, which has to end well; a ``cd`` holds for the commands after it."""
        where = self.home / "where"
        script = f"{self.typed(command)}\nended=$?; pwd -P > {where}; exit $ended"
        said = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert said.returncode == 0, f"{command}\n{said.stdout}"
        self.folder = Path(where.read_text(encoding="utf-8").strip())
        self.digest = (re.findall(r"sha256:[0-9a-f]{64}", said.stdout) or [self.digest])[-1]
        return said.stdout

    def typed(self, command: str) -> str:
        """A command with the digest that the page leaves out."""
        return command.replace("sha256:…", self.digest)

    def write(self, block: Block) -> None:
        """Save what the page says is in a file."""
        file = self.folder / block.title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text, encoding="utf-8")

    def follow(self, blocks: list[Block]) -> None:
        """Do what the blocks of a section say; each command prints what the page says it does."""
        for block in blocks:
            if block.title:
                self.write(block)
            for command, printed in commands(block.text) if block.language == "console" else ():
                said = self.run(command)
                assert says(said, printed), f"$ {command}\n{said}\nthe page has:\n{printed}"
