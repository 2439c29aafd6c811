"""The operator's key goes to the service and nowhere else, also where the service says it back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from seedream_jobs.api.credentials import ApiKey
from seedream_jobs.cli.main import run_command
from tests.canary import CANARY as KEY
from tests.canary import plant


class Parrot(BaseHTTPRequestHandler):
    """Refuses every submission in words that quote the request's own key."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(422)

    def do_GET(self) -> None:
        self.answer(404)

    def answer(self, status: int) -> None:
        """One refusal."""
        said = f"not with {self.headers['Authorization']}, sorry"
        body = json.dumps({"error": {"code": "refused", "message": said}}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def parrot() -> Iterator[str]:
    """The URL of a service that says keys back."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Parrot) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_key_said_back_is_in_no_file_and_on_no_screen(
    command: Callable[..., Any], quick: Callable[..., Any], campaign: Path, parrot: str
) -> None:
    """Journal, manifest, log, stdout and stderr: the words are kept, the key is not."""
    ended = quick("--log-file", "log", "plan", "garden.yaml", "--set", f"key={KEY}", APIMART_API_KEY=KEY)
    assert ended.code == 2  # there is no such variable: its value stands in the first line of the log
    assert "--set key=***" in (campaign / "log").read_text("utf-8")
    ended = command(
        "-vv", "--log-file", "log", "run", "garden.yaml", "--yes", "--base-url", parrot, APIMART_API_KEY=KEY
    )
    log = (campaign / "log").read_text("utf-8")
    for step in (
        "POST by worker 0: garden/",
        "HTTP 422",
        "is rejected, error",
        "not with Bearer ***, sorry",
        "exit code 1",
    ):
        assert step in log
        assert step in ended.err
    shown = command("status", "garden.yaml", "--base-url", parrot, APIMART_API_KEY=KEY)
    said = ended.out + ended.err + shown.out + shown.err
    files = {file: file.read_bytes() for file in campaign.rglob("*") if file.is_file()}
    assert KEY not in said
    assert [str(file) for file, content in files.items() if KEY.encode() in content] == []
    assert "not with Bearer ***, sorry" in (campaign / "garden.manifest.jsonl").read_text("utf-8"), said


def test_a_key_in_an_exception_is_in_no_log(
    campaign: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A mistake of ours whose words quote the key, with its traceback: on the screen, and in the log."""
    plant()  # pytest keeps the record before it is masked
    monkeypatch.chdir(campaign)
    monkeypatch.setenv("APIMART_API_KEY", KEY)

    def broken(*_: object, **__: object) -> None:
        secret = ApiKey(KEY)
        raise RuntimeError(f"{secret!r} with {{'Authorization': 'Bearer {KEY}'}}")

    monkeypatch.setattr("seedream_jobs.cli.plan.load_jobs", broken)
    for options in ((), ("-vv", "--log-file", "log")):
        assert run_command([*options, "plan", "garden.yaml"]) == 70
        shown = capfd.readouterr().err
        assert "ApiKey('***') with {'Authorization': 'Bearer ***'}" in shown
        assert KEY not in shown
    log = (campaign / "log").read_text("utf-8")
    assert "    RuntimeError: ApiKey('***') with {'Authorization': 'Bearer ***'}" in log
    assert "Traceback" in log
    assert KEY not in log
