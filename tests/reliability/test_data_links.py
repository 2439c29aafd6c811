"""A task may hand over its images as ``data:`` links or as base64; these bytes never enter the record."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("shape", ["task-data-url", "task-base64"])
def test_a_data_link_never_enters_the_record(
    shape: str, emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """Neither status nor an interrupted or finished fetch writes one, and the images are stored all the same."""
    service = emulator("--delay", "0", "--fault", shape)
    mine = campaign(service, 3)
    assert mine.run("--detach").code == 0
    mine.age(60)
    seen = mine.command("status")
    assert (seen.code, mine.states()) == (8, {"completed": 3}), seen.err
    assert "data:" not in mine.manifest.read_text()
    blocked = mine.folder / "out"
    shutil.rmtree(blocked)
    blocked.write_text("in the way")
    assert mine.command("fetch").code != 0
    assert mine.states() == {"completed": 3}
    assert "data:" not in mine.manifest.read_text()
    blocked.unlink()
    ended = mine.command("fetch")
    assert (ended.code, mine.states()) == (0, {"stored": 3}), ended.err
    assert "data:" not in mine.manifest.read_text()
    assert all((mine.folder / image["file"]).is_file() for line in mine.entries().values() for image in line["images"])
