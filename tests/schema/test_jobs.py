"""The job file's schema: one finding for each mistake, at the right place, with the next step."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent

import pytest

from seedream_jobs.diagnostics import Diagnostic

Find = Callable[[str], list[Diagnostic]]

DESIGN = """\
# yaml-language-server: $schema=../schemas/job.schema.json
version: 1
name: garden                        # default: the file's stem
vars: {camera: 35mm}                # constants for templates
request:                            # any field of the API; prompt, image_urls and output.name are templates
  prompt: "{{ subject }} in a garden, {{ season }}, {{ style.text }}, {{ camera }}"
  resolution: 2K
matrix:
  subject: [a golden retriever, a tabby cat]
  season: [spring, autumn]
  style:                            # a value may be a mapping; `id` names it in addresses and file names
    - {id: photo, text: high-definition photography}
    - {id: ink, text: ink painting}
  size: [16:9, 1:1]                 # an axis named like a request field sets that field, typed
  exclude: [{style: ink, size: 1:1}]
  include: [{subject: a heron, season: winter, style: photo, size: 21:9}]
  where: "not (season == 'spring' and subject == 'a tabby cat')"
repeat: 2                           # independent requests per combination; not the same as n
limits: {max_requests: 200, budget_usd: 5.00}
output: {dir: out/garden, name: "{{ subject | slug }}-{{ season }}-{{ style.id }}-{{ size | slug }}"}
"""

GOOD = {
    "the example of the design": DESIGN,
    "no matrix": "version: 1\nrequest: {prompt: a dog}\n",
    "the prompt comes from an axis": "version: 1\nrequest: {}\nmatrix: {prompt: [a dog]}\n",
    "fragments": "version: 1\nx-look: &l {resolution: 4K}\nrequest: {<<: *l, prompt: a dog}\n",
    "an unknown field, let through": "version: 1\nrequest: {prompt: a dog, extra: {new: {a: [1.0]}}}\n",
    "references of all kinds": (
        "version: 1\nrequest:\n  prompt: a dog\n  size: auto\n"
        "  image_urls: [refs/dog.png, ../x.jpg, 'https://e.org/a.png', '{{ r }}', 'https://{{ host }}/a.png',"
        " 'data:image/png;base64,iVBORw0KGgo=']\n"
    ),
}
GOOD_MATRIX = {
    "a file": "p: {from: prompts.tsv, column: Prompt, where: row.x, limit: 50, types: {n: integer}}",
    "files": "image_urls: {glob: refs/*.png}",
    "references alone and in lists": "image_urls: [refs/a.png, [refs/a.png, refs/b.png]]",
    "a range": "n: {range: [1, 5]}",
    "a range with steps": "strength: {range: [0, 1, 0.25]}",
    "zip": "zip: {style: [ink, oil], palette: {from: palettes.txt}}",
    "zip with a name for people": "look: {zip: {style: [ink], size: [16:9]}}",
    "sample": "sample: {size: 100, seed: 7}\n  a: [1]",
    "sample of pairs": "sample: {strategy: pairwise, seed: 7}\n  a: [1]",
    "numbers, truth values, lists": "a: [1, 2.5, true, [x, y]]",
    "names in other scripts": "主题: [花园]",
    "exclude by id, by value, by a part of a mapping": "a: [1]\n  exclude: [{a: 1}, {a: ink}, {a: {id: x}}]",
}

# a job, the code and the place of its one finding, and a part of the hint
BAD = [
    ("no version", "request: {prompt: a}", "missing-field", "1:1", "add version: 1"),
    ("a version to come", "version: 2\nrequest: {prompt: a}", "not-allowed-value", "1:10", None),
    ("no request", "version: 1", "missing-field", "1:1", "add request"),
    ("no prompt", "version: 1\nrequest: {size: 1:1}", "missing-prompt", "2:1", "an axis named prompt"),
    ("an empty request", "version: 1\nrequest:", "wrong-type", "2:9", "give it a value"),
    ("a misspelt field at the top", "version: 1\nrequest: {prompt: a}\nrepaet: 2", "unknown-field", "3:1", "'repeat'"),
    ("a field of request at the top", "version: 1\nrequest: {prompt: a}\nsize: 1:1", "unknown-field", "3:1", "request"),
    ("where at the top", "version: 1\nrequest: {prompt: a}\nexclude: []", "unknown-field", "3:1", "below matrix"),
    ("a name with a slash", "version: 1\nname: a/b\nrequest: {prompt: a}", "bad-name", "2:7", None),
    ("vars as a list", "version: 1\nvars: [a]\nrequest: {prompt: a}", "wrong-type", "2:7", None),
    (
        "a variable no template can name",
        "version: 1\nvars: {my-cam: a}\nrequest: {prompt: a}",
        "bad-name",
        "2:8",
        "my_cam",
    ),
    ("repeat with a point", "version: 1\nrequest: {prompt: a}\nrepeat: 2.0", "float-for-integer", "3:9", "repeat: 2"),
    ("repeat: 0", "version: 1\nrequest: {prompt: a}\nrepeat: 0", "out-of-range", "3:9", None),
    (
        "a quoted budget",
        'version: 1\nrequest: {prompt: a}\nlimits: {budget_usd: "5"}',
        "number-quoted",
        "3:22",
        "quotes",
    ),
    (
        "an amount with its sign",
        "version: 1\nrequest: {prompt: a}\nlimits: {budget_usd: $5}",
        "wrong-type",
        "3:22",
        None,
    ),
    (
        "a misspelt limit",
        "version: 1\nrequest: {prompt: a}\nlimits: {max_request: 5}",
        "unknown-field",
        "3:10",
        "max_requests",
    ),
    ("output as a text", "version: 1\nrequest: {prompt: a}\noutput: out", "wrong-type", "3:9", None),
]
BAD_REQUEST = [
    ("misspelt", "resolutoin: 2K", "unknown-field", "did you mean 'resolution'?"),
    ("looked for in vain", "seed: 7", "unknown-field", "no seed"),
    ("unknown altogether", "zoom: 7", "unknown-field", "request.extra"),
    ("in the wrong place", "where: x", "unknown-field", "below matrix"),
    ("a misspelt prompt", "promt: a", "unknown-field", "did you mean 'prompt'?"),
    ("9:21", "size: 9:21", "not-allowed-value", "write 9:16"),
    ("a template where none is", "size: '{{ s }}'", "not-allowed-value", "an axis"),
    ("a number for a ratio", "size: 4", "wrong-type", None),
    ("YAML 1.1's yes", "watermark: yes", "wrong-type", "write watermark: true"),
    ("jpg", "output_format: jpg", "not-allowed-value", "did you mean 'jpeg'?"),
    ("quoted", "n: '3'", "number-quoted", "remove the quotes: n: 3"),
    ("too many images", "n: 16", "out-of-range", None),
    ("references as a text", "image_urls: a.png", "wrong-type", "write a list: image_urls: [a.png]"),
    ("too many references", f"image_urls: [{', '.join(['a.png'] * 15)}]", "too-many-images", "remove"),
    ("a reference by another scheme", "image_urls: ['s3://a/b.png']", "bad-reference", None),
    ("extra of what is known", "extra: {size: 1:1}", "extra-known-field", "write it in request"),
]
BAD_MATRIX = [
    ("an empty axis", "a: []", "empty-axis", None),
    ("a value without its list", "season: spring", "wrong-type", "write a list: season: [spring]"),
    ("nothing", "a:", "wrong-type", "give it a value"),
    ("a mapping without id", "a: [{text: x}]", "missing-id", "add id"),
    ("an empty item", "a: [x, ]\n  b: [null]", "wrong-type", "give it a value"),
    ("exclude misspelt", "exlude: [{a: 1}]", "missing-id", "did you mean 'exclude'?"),
    ("a name with a dash", "art-style: [ink]", "bad-name", "write art_style"),
    ("a name that is taken", "row: [1]", "bad-name", None),
    ("a source without its word", "a: {}", "axis-without-source", None),
    ("a source misspelt", "a: {form: x.txt}", "unknown-field", "did you mean 'from'?"),
    ("two sources", "a: {from: x.txt, glob: '*.png'}", "unknown-field", None),
    ("an option of another source", "a: {glob: '*.png', limit: 3}", "unknown-field", None),
    ("a range of one", "a: {range: [1]}", "wrong-length", None),
    ("a range of words", "a: {range: [1, x]}", "wrong-type", None),
    ("an unknown type", "a: {from: x.csv, types: {n: int}}", "not-allowed-value", "did you mean"),
    ("a typed value", "size: [16:9, 5:4]", "not-allowed-value", "did you mean"),
    ("a typed number", "n: [1, '2']", "number-quoted", "remove the quotes: 2"),
    ("a typed value in zip", "zip: {resolution: [1K], a: [1]}", "not-allowed-value", "write 2K"),
    ("a typed value in a named zip", "look: {zip: {n: [0]}}", "out-of-range", None),
    ("something beside zip", "look: {zip: {a: [1]}, limit: 3}", "unknown-field", None),
    ("a zip in a zip", "zip: {look: {zip: {a: [1]}}}", "unknown-field", None),
    ("an empty zip", "zip: {}", "empty-axis", None),
    ("a typed value in include", "include: [{n: 1.0}]", "float-for-integer", "write n: 1"),
    ("include as a mapping", "include: {a: 1}", "wrong-type", "in a list"),
    ("an exclude of everything", "a: [1]\n  exclude: [{}]", "empty-value", None),
    ("where as a truth value", "where: true", "wrong-type", "quotes"),
    ("a sample without its size", "sample: {seed: 7}", "missing-field", "add size"),
    ("pairs with a size", "sample: {strategy: pairwise, size: 3}", "unknown-field", None),
    ("an unknown strategy", "sample: {strategy: all, size: 3}", "not-allowed-value", None),
]


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_good_jobs(text: str, findings: Find) -> None:
    """A good job has no finding."""
    assert findings(text) == []


@pytest.mark.parametrize("matrix", GOOD_MATRIX.values(), ids=GOOD_MATRIX)
def test_good_matrices(matrix: str, findings: Find) -> None:
    """Each form of an axis, and each word of the matrix, is accepted."""
    assert findings(f"version: 1\nrequest: {{prompt: a dog}}\nmatrix:\n  {matrix}\n") == []


def _is_the_one(found: list[Diagnostic], code: str, hint: str | None) -> None:
    assert [finding.code for finding in found] == [code]
    assert hint is None or hint in (found[0].hint or "")


@pytest.mark.parametrize(("text", "code", "place", "hint"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_jobs(text: str, code: str, place: str, hint: str | None, findings: Find) -> None:
    """A mistake is one finding at its place."""
    found = findings(text + "\n")
    _is_the_one(found, code, hint)
    assert found[0].place == f"job.yaml:{place}"


@pytest.mark.parametrize(
    ("field", "code", "hint"), [row[1:] for row in BAD_REQUEST], ids=[row[0] for row in BAD_REQUEST]
)
def test_bad_requests(field: str, code: str, hint: str | None, findings: Find) -> None:
    """A mistake in request is one finding on its line."""
    rest = "" if field.startswith("promt") else "  prompt: a dog\n"
    found = findings(f"version: 1\nrequest:\n  {field}\n{rest}")
    _is_the_one(found, code, hint)
    assert found[0].place.startswith("job.yaml:3:")


@pytest.mark.parametrize(
    ("matrix", "code", "hint"), [row[1:] for row in BAD_MATRIX], ids=[row[0] for row in BAD_MATRIX]
)
def test_bad_matrices(matrix: str, code: str, hint: str | None, findings: Find) -> None:
    """A mistake in the matrix is one finding on its line."""
    found = findings(f"version: 1\nrequest: {{prompt: a dog}}\nmatrix:\n  {matrix}\n")
    _is_the_one(found, code, hint)
    assert found[0].place.startswith("job.yaml:5:" if "\n" in matrix else "job.yaml:4:")


def test_findings_come_all_at_once_and_in_order(findings: Find) -> None:
    """Mistakes all over a file are reported together, by line."""
    bad = "\n".join(f"- {{form{number}: x}}" for number in range(3))
    found = findings(
        f"version: '1'\nrequest: {{n: 0}}\nmatrix:\n  size: [4:5]\n  include:\n{indent(bad, '    ')}\n  a: []\n"
    )
    assert [finding.code for finding in found] == ["number-quoted", "out-of-range", "not-allowed-value", "empty-axis"]


def test_the_sentence_is_the_editor_s(findings: Find, job_schema: dict[str, dict[str, dict[str, str]]]) -> None:
    """The command line says the schema's errorMessage, and adds what it found."""
    (found,) = findings("version: 1\nrequest: {prompt: a, watermark: maybe}\n")
    assert found.message == f"{job_schema['definitions']['watermark']['errorMessage']}; found 'maybe'"


def test_long_values_are_shortened(findings: Find) -> None:
    """A finding shows at most 60 characters of a value."""
    (found,) = findings(f"version: 1\nrequest: {{prompt: a, size: {'x' * 5000}}}\n")
    assert found.message.endswith("xxx…'")
    assert len(found.message.split("; found ")[1]) == 60
