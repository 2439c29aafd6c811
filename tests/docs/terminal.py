"""This module draws docs/terminal.svg: a real session in a pseudo-terminal, as an SVG that moves by CSS alone.

Called by test_pictures.py. Its frames are what the terminal showed; how long each stays is written here, so that one
recording always makes the same bytes. What waits, runs and rates were, differs from one recording to the next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

import pyte

from tests import terminals

COLUMNS, ROWS = 80, 24
CELL, LINE, BASELINE, PADDING = 8.4, 20, 15, 16  # pixels
WIDTH, HEIGHT = round(COLUMNS * CELL) + 2 * PADDING, ROWS * LINE + 2 * PADDING
LIVE_FRAMES = 16
"""So many moments are kept of what moves while a command runs."""

TYPING, LIVE, READING, LAST = 0.12, 0.3, 2.5, 6.0
"""Seconds that a frame stays: of typing, of a running command, of its end, of the session's end."""

LIGHT = {
    "default": "#24292f", "back": "#f6f8fa", "black": "#24292f", "red": "#b3151f", "green": "#116329",
    "yellow": "#7a5200", "blue": "#0757ba", "magenta": "#7a3dc8", "cyan": "#14606b", "white": "#57606a",
}  # fmt: skip
DARK = {
    "default": "#e6edf3", "back": "#161b22", "black": "#8b949e", "red": "#ff8b84", "green": "#56d364",
    "yellow": "#e3b341", "blue": "#79c0ff", "magenta": "#d2a8ff", "cyan": "#76e3ea", "white": "#b1bac4",
}  # fmt: skip
_NAMES = {"brown": "yellow", **{f"bright{name}": name for name in LIGHT}, "brightbrown": "yellow"}


@dataclass(frozen=True, slots=True)
class Frame:
    """What the screen showed, a rendered line for each that is not empty.

    :param lines: by row
    :param cursor: column and row, while somebody types
    :param seconds: how long it stays
    :param settled: a command has ended, so nothing that moves is in it
    """

    lines: tuple[tuple[int, str], ...]
    text: str
    cursor: tuple[int, int] | None
    seconds: float
    settled: bool = False


def record(commands: Sequence[str], folder: Path, environment: Mapping[str, str]) -> list[Frame]:
    """Type commands at a prompt, run each in ``folder``, and keep what the screen shows.

    :raises RuntimeError: a command fails
    """
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    frames: list[Frame] = []
    for command in commands:
        stream.feed(b"\033[1;32m$\033[0m ")
        for begin in range(0, len(command), 4):
            frames.append(_frame(screen, TYPING, typed=True))
            stream.feed(command[begin : begin + 4].encode())
        frames.append(_frame(screen, 5 * TYPING, typed=True))
        stream.feed(b"\r\n")
        if not command.startswith("#"):
            moving = []
            for piece in _printed(command, folder, environment):
                stream.feed(piece)
                moving.append(_frame(screen, LIVE))
            frames += _thinned(list(dict.fromkeys(moving)))
            frames.append(_frame(screen, READING, settled=True))
    stream.feed(b"\033[1;32m$\033[0m ")
    frames.append(_frame(screen, LAST, typed=True, settled=True))
    return frames


def _printed(command: str, folder: Path, environment: Mapping[str, str]) -> list[bytes]:
    """What a command prints on a terminal; each state of a line that is drawn over ends a piece.

    :raises RuntimeError: it fails
    """
    ours, child = terminals.start(["sh", "-c", command], folder, environment, columns=COLUMNS, lines=ROWS)
    printed = b""
    with (
        child,
        open(ours, "rb", buffering=0) as terminal,
        suppress(OSError),
    ):  # an error: nobody has the terminal any more
        while piece := terminal.read(65536):
            printed += piece
    if child.returncode != 0:
        raise RuntimeError(f"{command}: exit code {child.returncode}")
    return re.split(rb"(?<=[^\r\n])(?=\r(?!\n))", printed)


def _thinned(frames: list[Frame]) -> list[Frame]:
    step = max(1.0, len(frames) / LIVE_FRAMES)
    return [frames[int(number * step)] for number in range(min(len(frames), LIVE_FRAMES))]


def _frame(screen: pyte.Screen, seconds: float, *, typed: bool = False, settled: bool = False) -> Frame:
    drawn = ((row, _line(screen, row)) for row in range(ROWS))
    cursor = (screen.cursor.x, screen.cursor.y) if typed else None
    text = "\n".join(line.rstrip() for line in screen.display).rstrip()
    return Frame(tuple((row, line) for row, line in drawn if line), text, cursor, seconds, settled)


def _line(screen: pyte.Screen, row: int) -> str:
    """A line of the screen: a text element for each stretch of one look, as wide as its cells in any font."""
    cells = [screen.buffer[row][column] for column in range(COLUMNS)]
    parts, begin = [], 0
    for look, same in groupby(cells, key=_look):
        group = list(same)
        # One character a cell, for its place; browsers make one blank of several, and none of the first.
        shapes = "".join(cell.data[:1] or "\0" for cell in group)
        for found in re.finditer(r"[^ ]+(?: [^ ]+)*", shapes):
            first, last = found.span()
            kind = f' class="{look}"' if look else ""
            text = escape("".join(cell.data for cell in group[first:last]), quote=False)
            place = f'x="{(begin + first) * CELL:.1f}" textLength="{(last - first) * CELL:.1f}"'
            parts.append(f"<text {place}{kind}>{text}</text>")
        begin += len(group)
    return "".join(parts)


def _look(cell: pyte.screens.Char) -> str:
    """The classes of a cell.

    :raises ValueError: a colour that is none of the terminal's sixteen, which no palette makes readable
    """
    name = _NAMES.get(cell.fg, cell.fg)
    if name not in LIGHT or cell.bg != "default" or cell.reverse:
        raise ValueError(f"no palette has {cell.fg} on {cell.bg}")
    return " ".join(filter(None, ["" if name == "default" else name, "bold" if cell.bold else ""]))


def render(frames: Sequence[Frame], *, title: str) -> str:
    """The SVG: each line once, the frames as a strip of film, and one animation that pulls it past the window."""
    lines = {line: f"l{number}" for number, line in enumerate(dict.fromkeys(one for f in frames for _, one in f.lines))}
    whole = sum(frame.seconds for frame in frames)
    film, steps, at = [], [], 0.0
    for number, frame in enumerate(frames):
        used = [f'<use href="#{lines[line]}" y="{row * LINE}"/>' for row, line in frame.lines]
        if frame.cursor is not None:
            column, row = frame.cursor
            used.append(f'<rect x="{column * CELL:.1f}" y="{row * LINE - BASELINE}" width="8" height="18"/>')
        film.append(f'<g transform="translate(0 {number * HEIGHT})">{"".join(used)}</g>')
        steps.append(f"{100 * at / whole:.2f}%{{transform:translateY({-number * HEIGHT}px)}}")
        at += frame.seconds
    still = f"transform:translateY({-(len(frames) - 1) * HEIGHT}px)"
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"
role="img" aria-labelledby="title"><title id="title">{escape(title)}</title><style>
text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}}
.bold{{font-weight:700}}
{_palette(LIGHT)}
@media (prefers-color-scheme:dark){{{_palette(DARK)}}}
#film{{{still};animation:film {whole:.1f}s step-end infinite}}
@keyframes film{{{"".join(steps)}}}
@media (prefers-reduced-motion:reduce){{#film{{animation:none}}}}
</style><defs>{"".join(f'<g id="{name}">{line}</g>' for line, name in lines.items())}</defs>\
<rect class="window" width="{WIDTH}" height="{HEIGHT}" rx="8"/>\
<svg x="{PADDING}" y="{PADDING}" width="{WIDTH - 2 * PADDING}" height="{HEIGHT - 2 * PADDING}">\
<g transform="translate(0 {BASELINE})"><g id="film">
{chr(10).join(film)}
</g></g></svg></svg>
"""


def _palette(colours: Mapping[str, str]) -> str:
    rules = [f".{name}{{fill:{colour}}}" for name, colour in colours.items() if name not in ("default", "back")]
    return "".join([f".window{{fill:{colours['back']}}}text,rect{{fill:{colours['default']}}}", *rules])
