"""What programs read: data on stdout is UTF-8 whatever the terminal, and a printed command can be run."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from seedream_jobs.expand.references import data_uri
from tests.campaign import Folder
from tests.canary import CANARY, own

Command = Callable[..., Any]


def test_data_is_utf8(campaign: Path, command: Command) -> None:
    """In a terminal of another encoding data stays what it is; text for people has ``?`` for what is missing there."""
    job = campaign / "garden.yaml"
    job.write_text('version: 1\nrequest: {prompt: "{{ a }} – 花园 😀"}\nmatrix: {a: [naïve]}\n', encoding="utf-8")
    for form in ("jsonl", "curl"):
        ended = command("expand", job.name, "--format", form, PYTHONIOENCODING="ascii")
        assert (ended.code, "naïve – 花园 😀" in ended.out) == (0, True), ended.err
    planned = command("plan", job.name, "--format", "json", PYTHONIOENCODING="gbk")
    assert json.loads(planned.out)["jobs"][0]["changes"][0]["payload"]["prompt"] == "naïve – 花园 😀"
    shown = command("expand", job.name, PYTHONIOENCODING="koi8-r")
    assert (shown.code, "na?ve ? ?? ?" in shown.out) == (0, True), shown.err


def test_a_printed_command_can_be_run(campaign: Path, quick: Command) -> None:
    """The body that curl is given is the POST's own, whatever the prompt has in it, local images included."""
    picture = io.BytesIO()
    Image.effect_noise((400, 400), 50).save(picture, "PNG")  # longer than a shell takes as one word
    folder = Folder(campaign)
    folder.write("ref.png", picture.getvalue())
    text = 'it\'s "$HOME" `id` \\ end\\n\\nBODY\\n!x'
    job = f'version: 1\nrequest: {{prompt: {json.dumps(text)}, image_urls: [ref.png, "https://example.com/a.png"]}}\n'
    loaded = folder.load(job)
    ended = quick("expand", "job.yaml", "--format", "curl")
    assert CANARY not in ended.out
    script = 'curl() { printf "%s\\n" "$@" > said; cat > body; }\n' + ended.out
    subprocess.run(
        ["bash"],
        input=script.encode(),
        cwd=campaign,
        check=True,
        env={"APIMART_API_KEY": CANARY, "PATH": "/bin:/usr/bin"},
    )
    request = next(loaded.expansion.request(place) for place in loaded.expansion.places())
    sent = json.loads((campaign / "body").read_bytes())
    (reference,) = request.references.values()
    assert sent == {
        **request.payload,
        "image_urls": [data_uri(reference, loaded.expansion.spec.files), "https://example.com/a.png"],
    }
    assert f"Authorization: Bearer {CANARY}" in own(campaign / "said").read_text()


def test_a_pattern_names_only_jobs(campaign: Path, quick: Command) -> None:
    """What ``init`` wrote for others is left out, with a word; named alone it is what it is."""
    folder = campaign / "new"
    assert quick("init", str(folder)).code == 0
    named = [str(file) for file in (*sorted(folder.glob("*.yaml")), folder / ".pre-commit-config.yaml")]
    planned = quick("plan", *named)
    assert planned.code == 0, planned.err
    assert "policy.yaml: the policy, left out" in planned.err
    assert "garden: " in planned.out
    checked = quick("validate", *named)
    assert checked.code == 0, checked.out
    assert "policy.yaml: valid policy" in checked.err
    assert quick("plan", str(folder / "policy.yaml")).code == 2
