"""Commands in a pseudo-terminal, as a person sees them."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path


def resize(terminal: int, columns: int, lines: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def start(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], *, columns: int = 80, lines: int = 24
) -> tuple[int, subprocess.Popen[bytes]]:
    """Our end of a new terminal, and the command whose own terminal it is, as with a shell in a window."""
    ours, theirs = pty.openpty()
    resize(ours, columns, lines)
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    return ours, process
