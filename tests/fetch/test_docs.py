"""docs/results.md says what the code does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from seedream_jobs.api import downloads
from seedream_jobs.ledger.state import Entry, Image
from seedream_jobs.results.image_metadata import AiLabels
from seedream_jobs.results.sidecar import FORMAT, Provenance, sidecar
from seedream_jobs.results.thumbnails import MAX_PIXELS, THUMBNAIL_SIDE
from seedream_jobs.run import images
from seedream_jobs.run.fetch import DEAD, WAITS

PAGE = (Path(__file__).parents[2] / "docs/results.md").read_text(encoding="utf-8")


def test_every_field_of_a_sidecar_is_described(entry: Callable[..., Entry]) -> None:
    """A full sidecar has the fields of the table, no more and no less."""
    image = Image(
        file="a.png", sha256="1", bytes=1, width=1, height=1, format="png", expires_at=1, warnings=("w",)
    )  # fmt: skip
    whole = sidecar(
        entry(request_id="r"),
        0,
        image,
        provenance=Provenance(job="j", template="t", commit="c"),
        labels=AiLabels(c2pa=True, aigc="{}", source_type="x"),
        came_sha256="2",
        stored_at=1,
    )
    content = json.loads(whole)
    section = PAGE.split("## Sidecars")[1].split("## ")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    assert {name for first, _ in rows for name in re.findall(r"`(\w+)`", first)} == set(content)
    inner = {first.strip(" `"): set(re.findall(r"`(\w+)`", second)) for first, second in rows}
    assert inner["image"] == set(content["image"])
    assert inner["ai_labels"] == set(content["ai_labels"])
    assert FORMAT in PAGE


def test_the_figures_are_the_code_s() -> None:
    """Bounds, waits and statuses on the page are those that hold."""
    assert f"under {images.MIN_BYTES:,} bytes" in PAGE
    assert f"More than {downloads.MAX_BYTES // 2**20} MiB" in PAGE
    assert f"than {MAX_PIXELS // 10**6} megapixels" in " ".join(PAGE.split())
    assert len(WAITS) == 3
    assert "after {:g}, {:g} and {:g} s".format(*WAITS) in PAGE
    assert ", ".join(str(status) for status in sorted(DEAD)) in PAGE
    assert f"{THUMBNAIL_SIDE} pixels" in PAGE
    assert all(f"`{extension}`" in PAGE for extension in images.EXTENSIONS.values())
