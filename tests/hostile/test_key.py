"""One key, one keeper: searched in every spelling in all that a campaign writes and prints, and in every child."""

from __future__ import annotations

import base64
import json
import os
import shutil
import string
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_jobs.api.credentials import ApiKey, take_key
from seedream_jobs.api.masking import Spellings, _forms
from seedream_jobs.emulator.server import EmulatorServer
from seedream_jobs.emulator.settings import Settings
from tests.canary import CANARY, own, plant, spellings
from tests.hostile.tree import git

JOB = "version: 1\nrequest: {prompt: '{{ x }}'}\nmatrix: {x: [a, b, c, d, e, f, g]}\n"
ECHO = " | ".join(spellings(CANARY))
PIECES = {CANARY[at : at + 8] for at in range(len(CANARY) - 7)}


class Echo(BaseHTTPRequestHandler):
    """A service that says the key back wherever it can say anything."""

    protocol_version = "HTTP/1.1"
    answers: Iterator[tuple[int, dict[str, Any]]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = next(type(self).answers)
        self.answer(status, body)

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        if name == "task_link":
            links = [f"https://127.0.0.1/{spelled}.png" for spelled in spellings(CANARY)]
            images = [*({"url": [link]} for link in links), {"error": ECHO}]
            self.answer(200, {"code": 200, "data": {"status": "completed", "result": {"images": images}}})
        elif name == "task_failed":
            self.answer(200, {"code": 200, "data": {"status": "failed", "error": {"code": CANARY, "message": ECHO}}})
        else:
            self.answer(401, {"error": {"code": CANARY[::-1], "message": ECHO}})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        """One reply."""
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("X-Oneapi-Request-Id", CANARY[::-1])
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _accepted(task: str) -> tuple[int, dict[str, Any]]:
    return 200, {"code": 200, "data": [{"status": "submitted", "task_id": task}]}


@pytest.fixture
def echo() -> Iterator[str]:
    """The URL of ``Echo``."""
    Echo.answers = iter(
        [
            (400, {"error": {"code": CANARY, "message": ECHO}}),
            (422, {"error": {"code": CANARY.encode().hex(), "message": f"Bearer {CANARY[:11]}… and …{CANARY[-12:]}"}}),
            _accepted("task_link"),
            _accepted("task_failed"),
            _accepted(CANARY),
            _accepted(CANARY.encode().hex()),
            (500, {"error": {"message": quote(base64.b64encode(CANARY.encode()).decode())}}),
        ]
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """A repository with a job of seven requests."""
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.yaml").write_text(JOB)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "one")
    return folder


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(campaign: Path, tmp_path: Path) -> Run:
    """Runs a command in the campaign with the key in its environment."""

    def command(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "APIMART_API_KEY": CANARY,
            "GH_TOKEN": "another-secret",
            **variables,
        }
        return subprocess.run(
            [sys.executable, "-P", "-m", "seedream_jobs", *words],
            cwd=campaign,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return command


def told(text: str) -> list[str]:
    """The spellings and pieces of the key in a text."""
    return [one for one in (*spellings(CANARY), *sorted(PIECES)) if one.lower() in text.lower()]


def test_a_service_that_says_the_key_back_is_heard_without_it(echo: str, run: Run, campaign: Path) -> None:
    """Words, codes, ids and links, in every spelling: in files, in logs, on both streams, in what is made of them."""
    logs = ("-vv", "--log-file", "log")
    ended = []
    for words in (
        ("plan", "a.yaml", "--base", "HEAD"),
        ("run", "a.yaml", "--yes", "--base-url", echo, "--concurrency", "1", "--deadline", "3s"),
        ("status", "a.yaml", "--base-url", echo),
        ("fetch", "a.yaml", "--base-url", echo, "--deadline", "1s"),
        ("resolve", "a.yaml"),
        ("resolve", "a.yaml", "--check", "--base-url", echo),
        ("gallery", "a.yaml"),
        ("export", "a.yaml", "-o", "out.csv"),
        ("export", "a.yaml", "-o", "out.jsonl"),
        ("doctor", "--base-url", echo),
    ):
        ended.append(run(*logs, *words))
        assert ended[-1].returncode not in (70, -9), (words, ended[-1].stderr)
        assert told(ended[-1].stdout + ended[-1].stderr) == [], words
    manifest = (campaign / "a.manifest.jsonl").read_text()
    assert manifest.count("***") >= 8, manifest  # the words are there, the key is not
    assert "task_link" in manifest
    assert "quotes the API key" in manifest
    for file in campaign.rglob("*"):
        if file.is_file() and ".git" not in file.parts[:-2]:
            assert told(file.read_bytes().decode("latin-1")) == [], file
    journals = list((campaign / ".git" / "seedream-jobs").rglob("*"))
    assert journals
    for file in journals:
        assert not file.is_file() or told(file.read_bytes().decode("latin-1")) == [], file


SITE = """
import json, os, sys
if "-c" in sys.orig_argv:
    with open(os.environ["HOME"] + "/children", "a") as file:
        parent = open(f"/proc/{os.getppid()}/environ", "rb").read() if sys.platform == "linux" else b""
        file.write(json.dumps([dict(os.environ), parent.decode("latin-1")]) + "\\n")
"""


def test_no_child_has_the_key(run: Run, campaign: Path, tmp_path: Path) -> None:
    """Neither git nor a decoder of a whole paid run, not even where the system shows its parent's environment."""
    places = tmp_path / "bin"
    places.mkdir()
    real = shutil.which("git")
    (places / "git").write_text(f'#!/bin/sh\n(echo "$@"; env) >> "{tmp_path}/asked"\nexec "{real}" "$@"\n')
    (places / "git").chmod(0o755)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    changes = {"PATH": f"{places}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(tmp_path / "site")}
    with EmulatorServer(Settings(state=tmp_path / "service", delay=0.05, balance=Decimal(100))) as server:
        for words in (
            ("plan", "a.yaml", "--base", "HEAD"),
            ("run", "a.yaml", "--yes", "--base-url", server.url, "--limit", "2"),
            ("fetch", "a.yaml", "--base-url", server.url),
        ):
            ended = run(*words, **changes)
            assert ended.returncode == 0, ended.stderr
    asked = (tmp_path / "asked").read_text()
    assert asked.count("ls-tree") >= 1
    assert asked.count("HEAD") >= 2
    children = [json.loads(line) for line in (tmp_path / "children").read_text().splitlines()]
    assert children
    for seen in (asked, *(str(one) for child in children for one in child)):
        assert told(seen) == [], seen
    inherited = asked + str([child[0] for child in children])
    assert not [name for name in ("APIMART", "GH_TOKEN", "another-secret") if name in inherited]


@pytest.mark.parametrize(
    "job",
    [
        f"version: 1\nrequest: {{prompt: 'say {CANARY}'}}\n",
        f"version: 1\nrequest: {{prompt: 'say {CANARY[::-1]}'}}\n",
        f"version: 1\nrequest: {{prompt: 'say {CANARY.encode().hex()}'}}\n",
        f"version: 1\nrequest: {{prompt: 'say {base64.b64encode(CANARY.encode()).decode()}'}}\n",
        f"version: 1\nrequest: {{prompt: a, extra: {{callback_url: 'https://evil.example/?k={quote(CANARY)}'}}}}\n",
        f"version: 1\nrequest: {{prompt: a, extra: {{deep: {{deeper: ['{CANARY}']}}}}}}\n",
        f"version: 1\nrequest: {{prompt: '{{{{ x.text }}}}'}}\nmatrix: {{x: [{{id: {CANARY.lower()}, text: a}}]}}\n",
        f"version: 1\nrequest: {{prompt: '{{{{ a }}}}{{{{ b }}}}'}}\n"
        f"matrix: {{a: ['{CANARY[:12]}'], b: ['{CANARY[12:]}']}}\n",
        f"version: 1\nname: {CANARY.lower()}\nrequest: {{prompt: a}}\n",
        f"version: 1\nrequest: {{prompt: a}}\noutput: {{dir: 'out/{CANARY}'}}\n",
        f"version: 1\nrequest: {{prompt: a, image_urls: ['https://evil.example/{CANARY}.png']}}\n",
    ],
)
def test_a_request_that_holds_the_key_is_not_sent(run: Run, campaign: Path, echo: str, job: str) -> None:
    """However it came there, the run is refused before anything of it is recorded."""
    plant()  # the plan that is shown before the key is read has the job's own words
    own(campaign / "b.yaml").write_text(job)
    ended = run("run", "b.yaml", "--yes", "--base-url", echo)
    assert ended.returncode == 4, ended.stdout + ended.stderr
    assert "holds the API key" in ended.stderr
    record = campaign / "b.manifest.jsonl"
    assert not record.exists() or told(record.read_text()) == []
    for file in (campaign / ".git" / "seedream-jobs").rglob("*"):
        assert not file.is_file() or told(file.read_bytes().decode("latin-1")) == [], file


KEYS = st.text(string.ascii_letters + string.digits + "-_", min_size=20, max_size=60)
WORDS = st.text(st.characters(codec="utf-8"), max_size=40)


@given(key=KEYS, before=WORDS, after=WORDS, at=st.integers(0, 7), length=st.integers(15, 60), way=st.integers(0, 8))
def test_a_piece_of_a_key_is_masked_whatever_stands_around_it(
    key: str, before: str, after: str, at: int, length: int, way: int
) -> None:
    """Fifteen characters of it, in any spelling: less than a piece of it is left of them, and the rest stays."""
    piece = key[at : at + length]
    raw = piece.encode()
    shifted = [base64.b64encode(b"??"[:by] + raw).decode() for by in range(3)]
    ways = [piece, piece[::-1], raw.hex(), raw.hex().upper(), "".join(f"%{one:02X}" for one in raw), piece.upper()]
    spelled = [*ways, *shifted][way]
    masked = Spellings(key).mask(f"{before} {spelled} {after}")
    assert "***" in masked
    assert spelled not in masked
    left = masked.removeprefix(f"{before} ").removesuffix(f" {after}").replace("***", "")
    assert len(left) <= 12, (spelled, masked)  # beyond the ends that a neighbour has a part in
    if len(piece) >= 15:
        assert Spellings(key).stand_in(f"{before} {spelled} {after}")


@given(key=KEYS, text=st.text(st.characters(codec="utf-8"), max_size=200))
def test_words_without_the_key_are_left_alone(key: str, text: str) -> None:
    """Nothing is masked by chance, whatever the words are."""
    if not any(key[at : at + 8].lower() in text.lower() for at in range(len(key) - 7)):
        assert Spellings(key).mask(text) == text


@given(key=KEYS, data=st.data())
def test_a_key_is_found_in_what_is_left_of_a_text(key: str, data: st.DataObject) -> None:
    """Only the runs of a text that could hold a part are searched: the answer is that of a search of all of it."""
    spelling = Spellings(key)
    pieces = st.one_of(
        WORDS, st.sampled_from(spelling._parts), st.sampled_from([part.upper() for part in spelling._parts])
    )
    text = "".join(data.draw(st.lists(pieces, max_size=6)))
    assert spelling.stand_in(text) == any(part in form for form, _ in _forms(text) for part in spelling._parts)


def test_an_id_is_never_changed() -> None:
    """It is kept whole, or not at all: a piece of the key in it by chance is no reason."""
    key = ApiKey(CANARY)
    assert not key.is_quoted_by(f"task_{CANARY[3:11]}")
    assert not key.is_quoted_by(None)
    assert all(key.is_quoted_by(f"https://x.example/{spelled}") for spelled in spellings(CANARY))
    assert not ApiKey("task").is_quoted_by("task_1")


def test_the_key_is_taken_once_and_leaves_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also the variable that names its file."""
    own(tmp_path / "key").write_text(CANARY)
    monkeypatch.setenv("APIMART_API_KEY_FILE", str(tmp_path / "key"))
    assert take_key(os.environ, tmp_path).reveal() == CANARY
    monkeypatch.setenv("APIMART_API_KEY", CANARY)
    assert take_key(os.environ, tmp_path).reveal() == CANARY
    assert not [name for name in os.environ if name.startswith("APIMART_")]
