"""A campaign's folder, as tests use it: job files written, loaded as the commands load them, expanded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from textwrap import dedent

from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.state import (
    Accepted,
    Completed,
    Event,
    Expired,
    Failed,
    Image,
    InDoubt,
    NotSent,
    Rejected,
    Resolved,
    ServiceError,
    State,
    Stored,
)
from seedream_jobs.plans.load import Job, Target, load_job
from seedream_jobs.plans.plan import intent_of

NOW = int(datetime(2026, 8, 2, 12, tzinfo=UTC).timestamp())
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


def requests_of(job: Job) -> Iterator[Request]:
    return map(job.expansion.request, job.expansion.places())


def record(job: Job, events: Iterable[Event], *, origin: str = TARGET.origin) -> None:
    """Put events on the record of a job."""
    root = job.expansion.spec.root
    with Ledger.open(
        job.paths, job=job.file.name, origin=origin, new_id=lambda: "m-1", root=root, command="t", now=NOW
    ) as ledger:
        for event in events:
            ledger.record_sync(event)


def history(request: Request, state: State, *, at: int = NOW, generation: int = 1) -> list[Event]:
    """The events that bring a request to a state."""
    key, image = request.key, Image(url="https://img/1", expires_at=at + 3600)
    intended = intent_of(
        request,
        at=at,
        generation=generation,
        max_cost_usd=Decimal("0.0228") * request.max_images,
        idempotency_key=f"{key[3:20]}-{generation}",
    )
    accepted = Accepted(key=key, at=at, task_id=f"task_{key[3:15]}")
    completed = Completed(key=key, at=at, images=(image,), cost_usd=Decimal("0.0228"))
    kept = Image(file="out/a.jpg", sha256="ab" * 32, bytes=10, width=1, height=1, format="jpeg")
    problem = ServiceError(status=400, code="content_policy", message="content policy")
    after: Mapping[State, list[Event]] = {
        State.INTENT: [],
        State.NEW: [NotSent(key=key, at=at, reason="refused")],
        State.ACCEPTED: [accepted],
        State.COMPLETED: [accepted, completed],
        State.STORED: [accepted, completed, Stored(key=key, at=at, images=(kept,))],
        State.IN_DOUBT: [InDoubt(key=key, at=at, doubt="no response")],
        State.REJECTED: [Rejected(key=key, at=at, error=problem)],
        State.FAILED: [accepted, Failed(key=key, at=at, error=problem)],
        State.EXPIRED: [accepted, completed, Expired(key=key, at=at)],
        State.ABANDONED: [
            InDoubt(key=key, at=at, doubt="no response"),
            Resolved(key=key, at=at, resolution="abandoned", reason="given up"),
        ],
    }
    return [intended, *after[state]]
