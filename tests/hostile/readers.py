"""What reads a command's output beside people: a terminal, the runners of CIs, forges that render Markdown, a shell.

Each function returns what came to life, as short sentences; nothing is the only good answer.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import unicodedata
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cmarkgfm
import mistune
import pyte
from cmarkgfm.cmark import Options
from markdown_it import MarkdownIt

# -- a terminal --------------------------------------------------------------------------------------------------------


class _Recorder:
    """Stands in for pyte's screen: counts what a terminal is told beside drawing characters."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()
        self.drawn: list[str] = []

    def draw(self, text: str) -> None:
        self.drawn.append(text)

    def __getattr__(self, name: str) -> Callable[..., None]:
        def told(*_: Any, **__: Any) -> None:
            self.told[name] += 1

        return told


def terminal(text: str) -> list[str]:
    """What a terminal (pyte's parser) is told to do but draw and begin the next line."""
    recorder = _Recorder()
    pyte.Stream(recorder).feed(text)
    told = recorder.told
    found = [f"{name} × {count}" for name, count in told.items() if name not in ("linefeed", "tab")]
    if told["linefeed"] != text.count("\n"):
        found.append(f"{told['linefeed']} lines of {text.count(chr(10))}")
    if "".join(recorder.drawn) != re.sub("[\n\t]", "", text):
        found.append("draws something else than it was sent")
    return found


def unseen(text: str) -> list[str]:
    """The characters that nobody sees, by Unicode's own categories and not by the program's tables."""
    bad = {
        f"U+{ord(one):04X}"
        for one in set(text) - {"\n", "\t"}
        if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") or one in "\u034f\u115f\u1160\u3164\uffa0\u17b4"
    }
    return sorted(bad)


# -- the runners of CIs ------------------------------------------------------------------------------------------------

_DOTNET_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def actions(text: str) -> list[str]:
    """What GitHub's runner obeys: ActionCommand.TryParseV2 and TryParse, on each line that StreamReader reads."""
    found = []
    for line in re.split("\r\n|\r|\n", text):
        message = line.lstrip(_DOTNET_SPACE)
        if message.startswith("::") and "::" in message[2:]:
            found.append(message)
        elif "##[" in line and "]" in line[line.index("##[") :]:
            found.append(line)
    return found


def other_runners(text: str) -> list[str]:
    """What Azure Pipelines, TeamCity and GitLab obey."""
    return re.findall(r"##(?:vso|teamcity)?\[[^\n]*|section_(?:start|end):\d+:[\w.-]+(?:\[[^\]]*\])?\r\x1b\[0K", text)


# -- forges ------------------------------------------------------------------------------------------------------------

_TAGS = frozenset(
    ["details", "summary", "code", "pre", "sub", "ul", "ol", "li", "p", "h3", "strong", "em", "div", "span"]
)


_ACTIVE = re.compile(r"(?<!\w)@[\w/-]+|https?://\S+|www\.\S+|\S+@\S+\.\w+|\w*#\d+|GH-\d+|\$\S*\$|:\w+:")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._code = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._code += tag in ("code", "pre")
        names = {name for name, _ in attrs} - {"class"}
        if tag not in _TAGS or names or (tag == "div" and attrs):
            self.found.append(f"<{tag} {attrs}>")
        if dict(attrs).get("class") in ("language-mermaid", "language-math"):
            self.found.append(f"a drawing: {attrs}")

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag in ("code", "pre")
        if tag not in _TAGS:
            self.found.append(f"</{tag}>")

    def handle_comment(self, data: str) -> None:
        if not re.fullmatch(r" seedream-jobs: (plan|status) ", data):
            self.found.append(f"<!--{data}-->")

    def handle_data(self, data: str) -> None:
        if self._code <= 0:
            self.found += re.findall(
                r"(?<!\w)@[\w/-]+|https?://\S+|www\.\S+|\S+@\S+\.\w+|\w*#\d+|GH-\d+|\$\S*\$|:\w+:", data
            )


def _markdown_it(text: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))


def _cmark(text: str) -> str:
    return str(cmarkgfm.github_flavored_markdown_to_html(text, Options.CMARK_OPT_UNSAFE))


def _mistune(text: str) -> str:
    plugins = ["strikethrough", "table", "url", "footnotes", "task_lists"]
    return str(mistune.create_markdown(escape=False, plugins=plugins)(text))


RENDERERS = {"markdown-it": _markdown_it, "cmark-gfm": _cmark, "mistune": _mistune}


def forges(text: str) -> list[str]:
    """What comes to life of a comment in three renderers, and in GitLab, which obeys lines that begin with a slash."""
    found = []
    for name, render in RENDERERS.items():
        page = _Page()
        page.feed(render(text))
        page.close()
        found += [f"{name}: {one}" for one in page.found]
        if page._code:
            found.append(f"{name}: code that does not end")
    fence = ""
    for line in text.split("\n"):
        mark = re.match("`{3,}", line)
        if mark and (not fence or line.strip() == fence):
            fence = "" if fence else mark.group()
        elif not fence and re.match(r"/\w", line):
            found.append(f"quick action: {line}")
    return found


# -- a shell -----------------------------------------------------------------------------------------------------------


def shell(script: str, folder: Path) -> list[str]:
    """What a pasted script does but call curl with JSON, in bash (as at a prompt: history expansion on) and zsh."""
    folder.mkdir()
    curl = "curl() { while IFS= read -r _; do :; done; }\n"  # as a program it would take most of the time
    found = []
    shells = {"bash": ["bash", "--norc"], "zsh": ["zsh", "-f"], "dash": ["dash"]}
    for name, words in shells.items():
        if shutil.which(name) is None:
            continue
        begin = "set -o history -o histexpand\n" if name == "bash" else ""
        ended = subprocess.run(
            words,
            input=(curl + begin + script).encode("utf-8", "backslashreplace"),
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "HISTFILE": "/dev/null"},
            capture_output=True,
            timeout=60,
        )
        if ended.returncode or ended.stdout or ended.stderr:
            found.append(f"{name}: {ended.returncode} {ended.stdout[-300:]!r} {ended.stderr[-300:]!r}")
        found += [f"{name} made {made.name}" for made in folder.iterdir()]
    return found
