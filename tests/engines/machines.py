"""One machine of several that share a campaign: a checkout, and the real command in it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.canary import CANARY


@dataclass(frozen=True)
class Machine:
    """A checkout of the campaign on one machine."""

    folder: Path
    url: str

    @property
    def manifest(self) -> Path:
        return self.folder / "garden.manifest.jsonl"

    def environment(self, **variables: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "TMPDIR") if name in os.environ}
        return {
            **kept,
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "GIT_CEILING_DIRECTORIES": str(self.folder.parent),
            "APIMART_API_KEY": CANARY,
            "APIMART_BASE_URL": self.url,
            **variables,
        }

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "seedream_jobs", *words],
            cwd=self.folder,
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, code: int = 0, **variables: str) -> str:
        """What the command says on both streams."""
        return ended(self.start(*words, **variables), code)


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, out + err
    assert "Traceback" not in out + err
    return out + err
