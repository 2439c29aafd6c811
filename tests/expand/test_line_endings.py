"""Line ends are layout: those of a checkout never change a key, and one at the end of a prompt is not sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seedream_jobs.expand.identity import wire_body
from tests.campaign import Folder

ROWS = "a heron\nby the lake"
AXIS_FILES = {
    "p.txt": "a heron\n\n# by hand\n  # and more\na fox\n,\n",
    "p.csv": f'name,text\n1,"{ROWS}"\n,\n2,a fox\n',
    "p.tsv": "name\ttext\n1\ta heron\n \t\n2\ta fox\n",
    "p.json": '[{"text": "a heron"},\n {"text": "a fox\\nby night"}]\n',
    "p.jsonl": '{"text": "a heron"}\n\n{"text": "a fox\\nby night"}\n',
    "p.yaml": "- text: |\n    a heron\n    by the lake\n- text: a fox\n    in the snow\n- text: 'a\n\n    b'\n",
}
COUNTS = {"p.txt": 3, "p.yaml": 3}


@pytest.mark.parametrize("name", AXIS_FILES)
def test_line_ends_of_a_checkout_change_no_key(tmp_path: Path, name: str) -> None:
    """Files with LF, CR LF, CR, and lines that begin with a byte order mark make the same keys."""
    folder = Folder(tmp_path)
    said = "p" if name == "p.txt" else "p.text"
    job = (
        "version: 1\nvars:\n  v: |\n    one\n    two\nrequest:\n  prompt: |\n"
        f"    {{{{ {said} }}}}\n    by\n      the sea {{{{ v }}}}\n"
        f"matrix:\n  p: {{from: {name}}}\n"
    )
    keys: set[tuple[str, ...]] = set()
    for end in ("\n", "\r\n", "\r"):
        for mark in ("", "\ufeff"):
            text = AXIS_FILES[name].replace("\n", "\n" + (mark if name != "p.yaml" else ""))
            folder.write(name, (mark + text).replace("\n", end).encode())
            expansion = folder.load(job.replace("\n", end)).expansion
            keys.add(tuple(place.key for place in expansion.places()))
            assert not any("\r" in expansion.request(place).payload["prompt"] for place in expansion.places())
    assert len(keys) == 1
    assert len(keys.pop()) == COUNTS.get(name, 2)


def test_a_break_at_the_end_is_not_sent(tmp_path: Path) -> None:
    """Quoted and below ``|`` are one request, byte for byte; breaks within the prompt stay, as line feeds."""
    folder = Folder(tmp_path)
    written = [
        'request: {prompt: "a fox\\nby the lake"}',
        "request:\n  prompt: |\n    a fox\n    by the lake\n",
        "request:\n  prompt: |+\n    a fox\n    by the lake\n\n\n",
        'request: {prompt: "a fox\\r\\nby the lake\\r"}',
        'vars: {end: "\\n"}\nrequest: {prompt: "a fox\\nby the lake{{ end }}\\n{{ end }}"}',
        'request: {size: "1:1"}\nmatrix: {prompt: ["a fox\\nby the lake\\n"]}',
        'request: {prompt: "{{ a }}"}\nmatrix: {a: ["a fox"], include: [{prompt: "a fox\\nby the lake\\n"}]}',
    ]
    bodies = {
        wire_body({**request.payload, "size": "1:1"}, {}) for text in written for request in folder.requests(text)
    }
    assert [json.loads(body)["prompt"] for body in bodies] == ["a fox\nby the lake"]
    assert len({key for text in written for key in folder.keys(text)}) == 1
    assert folder.prompts("request: {prompt: 'a\\n'}") == ["a\\n"]  # a backslash and an n


def test_prompts_that_differ_in_their_end_are_one_request(tmp_path: Path) -> None:
    """They are counted, merged and told as equal requests are."""
    expansion = Folder(tmp_path).expand('request: {size: "1:1"}\nmatrix:\n  prompt:\n  - |\n    an owl\n  - an owl\n')
    assert expansion.total() == 1
    assert [finding.code for finding in expansion.merge_warnings()] == ["equal-requests"]
