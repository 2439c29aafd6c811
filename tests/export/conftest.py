"""A record of stored images, made entry by entry, with real small images on disk."""

from __future__ import annotations

import hashlib
import io
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from PIL import Image as Pillow

from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.ledger.state import Entry, Image, State
from seedream_jobs.results.export import ExportRows


def picture(number: int, kind: str = "jpeg") -> bytes:
    """A small image, another one for each number."""
    out = io.BytesIO()
    Pillow.new("RGB", (16, 9), (number % 256, number * 7 % 256, 90)).save(out, kind)
    return out.getvalue()


class Record:
    """Entries and their files; ``rows()`` is what an export reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries = Entries()

    def add(
        self,
        prompt: str,
        *,
        images: int = 1,
        state: State = State.STORED,
        folder: str = "out/garden",
        kind: Literal["jpeg", "png"] = "jpeg",
        **cell: Any,
    ) -> Entry:
        """One more request; its images are on disk where it is stored."""
        number = len(self.entries)
        made = []
        for index in range(1, images + 1):
            file = f"{folder}/{number:04}-i{index}.{kind}"
            data = picture(number * 10 + index, kind)
            (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / file).write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            made.append(Image(file=file, sha256=digest, bytes=len(data), width=16, height=9, format=kind))
        stored = state is State.STORED
        entry = Entry(
            key="v1:" + hashlib.sha256(f"{number}".encode()).hexdigest(),
            address=f"garden/{number}#1",
            cell=cell,
            request={"model": "doubao-seedream-5-0-lite", "prompt": prompt, "size": "16:9"},
            repeat=1,
            output=f"{folder}/{number:04}",
            max_images=images,
            generation=1,
            state=state,
            task_id=f"task_{number}",
            images=tuple(made) if stored else (),
            cost_usd=Decimal("0.0228") * images if stored else None,
            submitted_at=1_790_000_000,
        )
        self.entries.put(entry)
        return entry

    def rows(self, **options: Any) -> ExportRows:
        return ExportRows(
            job="garden", entries=self.entries, root=self.folder.parent, folder=self.folder, expansion=None, **options
        )


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Empty, in a campaign's folder."""
    folder = tmp_path / "campaign"
    folder.mkdir()
    return Record(folder)


@pytest.fixture
def garden(record: Record) -> Record:
    """Three requests with four images, and one that failed."""
    record.add("a heron", subject="a heron", size="16:9")
    record.add("two cats, « deux chats » 两只猫", images=2, subject="cats", size="16:9")
    record.add("failed", state=State.FAILED, subject="none", size="16:9")
    record.add("a fox\nwith a second line", subject="a fox", weight=3)
    return record
