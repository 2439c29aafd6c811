"""The way of the money, followed for real: who calls whom from ``pipeline.run`` to the transport, at a POST."""

from __future__ import annotations

import sys
from pathlib import Path

import httpcore
import pytest

import seedream_jobs
from seedream_jobs.cli.main import run_command

PACKAGE = str(Path(seedream_jobs.__file__).parent)
JOB = "version: 1\nrequest: {prompt: a heron}\n"
MOST = 9
"""Frames of our own from ``pipeline.run`` to the transport, both ends counted."""


@pytest.mark.parametrize("saved", [False, True], ids=["job file", "saved plan"])
def test_few_frames_lie_between_the_tour_and_the_post(
    saved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newcomer follows the money by hand; a saved plan goes the same way as a job file."""
    seen: list[list[str]] = []
    handle = httpcore.AsyncHTTPConnection.handle_async_request

    async def watched(self: httpcore.AsyncHTTPConnection, request: httpcore.Request) -> httpcore.Response:
        if request.method == b"POST":
            seen.append(_frames())
        return await handle(self, request)

    monkeypatch.setattr(httpcore.AsyncHTTPConnection, "handle_async_request", watched)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / "heron.yaml").write_text(JOB, encoding="utf-8")
    named = "heron.yaml"
    if saved:
        assert run_command(["plan", named, "--emulator", "-o", "plan.json"]) == 0
        named = "plan.json"

    assert run_command(["run", named, "--emulator", "--no-gallery"]) == 0

    frames = seen[-1]  # before it, opening the connection proves that its trace tells what was sent
    assert frames[:2] == ["pipeline.run", "pipeline.apply"]
    assert len(frames) <= MOST, " → ".join(frames)


def _frames() -> list[str]:
    """Our own frames on the stack, from ``pipeline.run`` inward."""
    found: list[str] = []
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE):
            module = name.removeprefix(PACKAGE + "/").removesuffix(".py").replace("/", ".")
            found.append(f"{module}.{frame.f_code.co_qualname}")
        frame = frame.f_back  # type: ignore[assignment]
    found.reverse()
    return found[found.index("pipeline.run") :]
