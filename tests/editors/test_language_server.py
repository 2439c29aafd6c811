"""The schemas in the language server that editors use: what it offers, what it shows, the sentence for a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.resources import resource

pytestmark = pytest.mark.slow  # the server is fetched from npm

HEAD = "version: 1\n"
JOB = HEAD + "request:\n  prompt: a heron\n"


def test_a_good_job_has_no_diagnostics(editor: Any) -> None:
    """`16:9`, axis files, zips, includes and fragments are all right in an editor, too."""
    text = JOB.replace("a heron", '"{{ subject }}"') + (
        "matrix:\n  subject: [a cat]\n  size: [16:9, 1:1]\n  style: {from: styles.csv, column: Style}\n"
        "  zip: {a: [1, 2], b: [x, y]}\n  exclude: [{size: 1:1}]\n  include: [{subject: an owl, size: 21:9}]\n"
        "lint: {ignore: [unused-axis]}\nx-shared: {a: 1}\nlimits: {max_requests: 3, budget_usd: 1.5}\n"
    )
    assert editor.open(text)[1] == []


MISTAKES: dict[str, tuple[str, str | None, str]] = {
    "a misspelt field": (
        HEAD + "request:\n  prompt: x\n  resolutoin: 2K\n",
        "resolutoin",
        "Property resolutoin is not allowed.",  # the server's own words: it asks no schema for these
    ),
    "a misspelt key at the top": (JOB + "matrx: {}\n", "matrx", "Property matrx is not allowed."),
    "no request": (HEAD, None, "request"),
    "no version": ("request:\n  prompt: x\n", None, "version"),
    "another version": ("version: 2\nrequest:\n  prompt: x\n", "2", "version is 1, written without quotes"),
    "a quoted version": ('version: "1"\nrequest:\n  prompt: x\n', '"1"', "version is 1, written without quotes"),
    "a resolution that is none": (HEAD + "request: {prompt: x, resolution: 1K}\n", "1K", "resolution"),
    "a ratio that is unsupported": (HEAD + 'request: {prompt: x, size: "9:21"}\n', '"9:21"', "size"),
    "a quoted number": (
        HEAD + 'request: {prompt: x, n: "4"}\n',
        '"4"',
        "n, the number of images, is a whole number from 1 to 15",
    ),
    "too many images": (
        HEAD + "request: {prompt: x, n: 16}\n",
        "16",
        "n, the number of images, is a whole number from 1 to 15",
    ),
    "an unknown model": (HEAD + "request: {prompt: x, model: seedream}\n", "seedream", "model"),
    "a format that is none": (HEAD + "request: {prompt: x, output_format: webp}\n", "webp", "output_format"),
    "a mode that is none": (
        HEAD + "request: {prompt: x, sequential_image_generation: on}\n",
        "on",
        "sequential_image_generation is disabled or auto",
    ),
    "a watermark that is no boolean": (HEAD + "request: {prompt: x, watermark: 1}\n", "1", "watermark"),
    "an axis with one value": (
        JOB + "matrix: {subject: a cat}\n",
        "a cat",
        "an axis",
    ),
    "a blank prompt": (HEAD + 'request: {prompt: "  "}\n', '"  "', "prompt"),
    "limits with a sign": (JOB + "limits: {budget_usd: $5}\n", "$5", "budget_usd is an amount of US dollars"),
    "repeat of nothing": (JOB + "repeat: 0\n", "0", "Value is below the minimum of 1."),
    "a lint code that is none": (JOB + "lint: {ignore: [spaces]}\n", "spaces", "only lint warnings can be silenced"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_sentence_for_a_mistake(name: str, editor: Any) -> None:
    """The editor underlines the mistake and says the command line's own sentence."""
    text, underlined, sentence = MISTAKES[name]
    found = editor.open(text)[1]
    assert found, name
    fitting = [where for where, message in found if sentence in message]
    assert fitting, found
    if underlined is not None:
        assert underlined in fitting, found


def test_completion_offers_fields_and_values(editor: Any) -> None:
    """At the top, inside the request, and for a value."""
    top, _ = editor.open(JOB)
    assert {"matrix", "repeat", "limits", "output", "vars", "lint"} <= set(editor.complete(top, 3, 0))
    inside, _ = editor.open(JOB + "  \n")
    assert {"resolution", "size", "n", "image_urls", "watermark"} <= set(editor.complete(inside, 3, 2))
    value, _ = editor.open(JOB + "  resolution: \n")
    assert {"2K", "3K", "4K"} <= set(editor.complete(value, 3, 14))
    size, _ = editor.open(JOB + "matrix:\n  size:\n    - \n")
    assert {"16:9", "1:1", "21:9", "auto"} <= {label.strip('"') for label in editor.complete(size, 5, 6)}


def test_hover_explains(editor: Any) -> None:
    """A field's description, where the pointer is."""
    uri, _ = editor.open(JOB + "  n: 4\nlimits: {budget_usd: 5}\n")
    assert "charged in advance" in editor.hover(uri, 3, 2)
    assert "submissions in doubt count as paid" in editor.hover(uri, 4, 12)


def test_the_policy_has_its_schema_too(editor: Any) -> None:
    """Hover, completion and a sentence."""
    uri, found = editor.open("version: 1\nbudget: 3\nwatermark: false\n", schema="policy")
    assert ("false", "watermark is true (every image carries the mark), or is left out") in found
    assert "budget" in [where for where, _ in found]
    assert {"forbidden_words", "max_requests"} <= set(editor.complete(uri, 3, 0))
    assert "every request must ask for the watermark" in editor.hover(uri, 2, 3)


@pytest.mark.parametrize("file", sorted(resource("examples").glob("*.yaml")), ids=lambda file: file.stem)
def test_an_editor_is_content_with_every_example(file: Path, editor: Any) -> None:
    """What the command line takes, an editor does not underline."""
    assert editor.open(file.read_text(encoding="utf-8"))[1] == []
