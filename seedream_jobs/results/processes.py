"""This module starts the processes that help a run: they decode images and keep pages fresh.

Called by ``thumbnails`` and ``gallery.live``. Invariant: of our environment such a process has only what is listed
here, so no key; it does not heed Ctrl-C; and it learns of the end of its parent by that of its stdin.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

_KEPT = (
    "DYLD_LIBRARY_PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
    "TMPDIR",
    "USERPROFILE",
)
"""What a helper gets of our environment: by a list of names, so that no secret comes along, now or later."""
_PACKAGES = str(Path(__file__).resolve().parents[2])
_PROGRAM = (
    # Ctrl-C reaches the whole group: the parent decides what it means. Ignored before anything is imported.
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import importlib, json, sys; "
    "_, packages, module, function, limits = sys.argv; sys.path.append(packages); "
    "getattr(importlib.import_module(module), function)(**json.loads(limits))"
)


def start_helper(module: str, function: str, **limits: int) -> subprocess.Popen[bytes]:
    """A process that runs a function of this package, with pipes as its stdin and stdout.

    :param limits: arguments of the function
    :raises OSError: it can't be started
    """
    # -P: neither the working folder nor what lies in it is a place to import from
    command = [sys.executable, "-P", "-c", _PROGRAM, _PACKAGES, module, function, json.dumps(limits)]
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
