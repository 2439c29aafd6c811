"""The operator's key goes to the service and nowhere else, also where the service says it back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

KEY = "sk-abcdefghijklmnop-0123456789"


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
    command: Callable[..., Any], campaign: Path, parrot: str
) -> None:
    """Journal, manifest, log, stdout and stderr: the words are kept, the key is not."""
    ended = command(
        "-vv", "--log-file", "log", "run", "garden.yaml", "--yes", "--base-url", parrot, APIMART_API_KEY=KEY
    )
    shown = command("status", "garden.yaml", "--base-url", parrot, APIMART_API_KEY=KEY)
    said = ended.out + ended.err + shown.out + shown.err
    files = {file: file.read_bytes() for file in campaign.rglob("*") if file.is_file()}
    assert KEY not in said
    assert [str(file) for file, content in files.items() if KEY.encode() in content] == []
    assert "not with Bearer ***, sorry" in (campaign / "garden.manifest.jsonl").read_text("utf-8"), said
