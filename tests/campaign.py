"""A campaign's folder, as tests use it: job files written, loaded as the commands load them, expanded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.plan.load import Job, Target, load_job

TARGET = Target(origin="https://api.example", emulator=False)


class Folder:
    """A campaign's folder: writes files, loads jobs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str | bytes) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        return file

    def load(self, text: str, *, name: str = "job.yaml", sets: Mapping[str, str] | None = None) -> Job:
        file = self.write(name, dedent(text))
        return load_job(file, shown=name, target=TARGET, sets=sets or {})

    def expand(self, text: str, *, name: str = "job.yaml", sets: Mapping[str, str] | None = None) -> Expansion:
        """``text`` is a job without its version."""
        return self.load("version: 1\n" + dedent(text).lstrip("\n"), name=name, sets=sets).expansion

    def requests(self, text: str, **options: str) -> list[Request]:
        expansion = self.expand(text, **options)
        return [expansion.request(place) for place in expansion.places()]

    def prompts(self, text: str) -> list[str]:
        return [request.payload["prompt"] for request in self.requests(text)]

    def keys(self, text: str, **options: str) -> list[str]:
        return [place.key for place in self.expand(text, **options).places()]
