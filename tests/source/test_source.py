"""What a document says, and where its parts stand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from yaml.error import Mark
from yaml.scanner import ScannerError

from seedream_jobs.diagnostics import Span
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.job import yaml_reader
from seedream_jobs.job.document import Document
from seedream_jobs.job.yaml_reader import MAX_BYTES, UNPRINTABLE, decode, parse, read_named

pytestmark = pytest.mark.usefixtures("libyaml")


@pytest.fixture(params=[True, False], ids=["libyaml", "python"])
def libyaml(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Every test here runs on both parsers."""
    if request.param:
        pytest.importorskip("yaml._yaml")
    kwdefaults = dict(parse.__kwdefaults__ or {})
    monkeypatch.setattr(parse, "__kwdefaults__", {**kwdefaults, "libyaml": request.param})
    return bool(request.param)


def load(text: str, **options: Any) -> Any:
    return parse(text.encode(), "job.yaml", **options).data


def document(text: str) -> Document:
    return parse(text.encode(), "job.yaml")


def under(text: str, span: Span) -> str:
    return text[span.start.offset : span.end.offset]


def codes(text: str | bytes, **options: Any) -> list[str]:
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(FindingsError) as caught:
        parse(raw, "job.yaml", **options)
    return [item.code for item in caught.value.diagnostics]


# Values

OTHERWISE = ["yes", "No", "ON", "off", "True", "FALSE", "Null", "012", "0o14", "0x1F", "0b1", "1_000", "+1", ".5", "5."]
OTHERWISE += [".inf", "-.INF", ".nan", "2026-01-01", "2026-01-01T10:00:00Z", "12:30:45"]


@pytest.mark.parametrize(
    "text",
    ["size: 16:9", "size:   16:9  # wide", "{size: 16:9}", "size: !!str 16:9", "? size\n: 16:9", "size: &s 16:9"],
)
def test_a_ratio_stays_the_text_it_looks_like(text: str) -> None:
    """In every position of a value, and without a warning."""
    found = document(text)
    assert found.data == {"size": "16:9"}
    assert not found.warnings


@pytest.mark.parametrize(
    "text", ["size: [16:9, 1:1]", "size:\n  - 16:9\n  - 1:1", "size:\n- 16:9\n- 1:1", "size: [16:9,1:1]"]
)
def test_ratios_as_an_axis(text: str) -> None:
    """A list of sizes needs no quotes."""
    assert load(text) == {"size": ["16:9", "1:1"]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("~", None),
        ("", None),
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-0", 0),
        ("-17", -17),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        ("-2.5E-3", -0.0025),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("y", "y"),
        ("n", "n"),
        ("١٢", "١٢"),
        ("1.2.3", "1.2.3"),
        ("2K", "2K"),
        ("-", None),
        ("a#b", "a#b"),
        ("'null'", "null"),
        ('"1"', "1"),
        ("=", "="),
        ("1:", None),
    ],
)
def test_a_plain_scalar_is_what_json_would_read(text: str, value: object) -> None:
    """Words and numbers of JSON; everything else is text."""
    if text == "-":
        assert load("a:\n-") == {"a": [None]}
    elif text == "1:":
        assert load("a: {1: }") == {"a": {"1": None}}
    else:
        found = load(f"a: {text}")["a"]
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize("text", OTHERWISE)
def test_what_other_readers_take_for_something_else_is_text_and_warned_about(text: str) -> None:
    """The same word in quotes, or as a key, is nobody's riddle."""
    found = document(f"a: {text}\nb: '{text}'\n{text}: c\nd: !!str {text}")
    assert found.data["a"] == found.data["b"] == found.data["d"] == text
    assert [(item.code, item.severity) for item in found.warnings] == [("ambiguous-scalar", "warning")]
    assert found.warnings[0].place == "job.yaml:1:4"


def test_keys_are_text_as_written() -> None:
    """JSON has no other keys."""
    assert load("1: a\ntrue: b\n~: c\n1.50: d\n'': e") == {"1": "a", "true": "b", "~": "c", "1.50": "d", "": "e"}


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    """Windows editors write one."""
    raw = b"\xef\xbb\xbfname: x\n"
    found = parse(raw, "job.yaml")
    assert found.data == {"name": "x"}
    assert found.span(["name"]).start.column == 7
    assert decode(raw) == found.text == "name: x\n"


# Anchors


def test_anchors_and_aliases() -> None:
    """An alias stands for the last anchor of its name above it, with its type."""
    assert load("a: &x 5\nb: *x\nc: &x [1]\nd: *x\ne: &k f\n&m g: h\ni: *m") == {
        "a": 5, "b": 5, "c": [1], "d": [1], "e": "f", "g": "h", "i": "g",
    }  # fmt: skip


def test_merge_order_and_precedence() -> None:
    """Own keys win, an earlier source wins over a later one, merged keys come first."""
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz:\n  d: [3]\n  <<: [*x, *y, {e: 4}]\n  c: 3\n"
    found = load(text)["z"]
    assert found == {"a": 1, "b": 1, "c": 3, "e": 4, "d": [3]}
    assert list(found) == ["a", "b", "c", "e", "d"]


def test_merge_of_a_merge() -> None:
    """A fragment may itself be built from fragments."""
    text = "x: &x {a: 1}\ny: &y\n  <<: *x\n  b: {q: 1}\nz:\n  <<: *y\n  c: 3\nw: &w [*x, *y]\nv: {<<: *w}\n"
    assert load(text)["z"] == {"a": 1, "b": {"q": 1}, "c": 3}
    assert load(text)["v"] == {"a": 1, "b": {"q": 1}}


def test_a_quoted_merge_key_is_a_key() -> None:
    """Quotes take the meaning away."""
    assert load("'<<': 1") == {"<<": 1}


def test_positions_through_aliases_and_merges() -> None:
    """A merged key stands where it is written; an alias where it is used; its parts where they are written."""
    text = "x: &x\n  prompt: hello\na:\n  <<: *x\n  n: 1\nb: *x\nc: &s word\nd: *s\n"
    found = document(text)
    assert found.span(["a", "prompt"], key=True).start.line == 2
    assert under(text, found.span(["a", "prompt"])) == "hello"
    assert under(text, found.span(["b"])) == "*x"
    assert under(text, found.span(["b", "prompt"])) == "hello"
    assert found.scalar_style(["d"]) == "plain"
    place = found.text_position(["d"], 2)
    assert place is not None
    assert (place.line, place.column) == (7, 9)


def test_few_lines_do_not_become_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound counts keys, values and characters of everything written out, merges too; up to it, all is read."""
    monkeypatch.setattr(yaml_reader, "MAX_EXPANDED_NODES", 40)
    base = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
    assert load(base + "b: [*a]")["b"] == [[1, 2, 3, 4, 5, 6, 7, 8, 9]]
    assert codes(base + "b: [*a, *a, *a]") == ["alias-expansion"]
    assert codes("a: &a {b: 1, c: 2, d: 3, e: 4}\nf: [{<<: *a}, {<<: *a}, {<<: *a}, {<<: *a}]") == ["alias-expansion"]


def test_long_texts_count_too() -> None:
    """A single long text, used often, is bounded by characters."""
    text = "a: &a " + "x" * 500_000 + "\nb: [" + ", ".join(["*a"] * 20) + "]\n"
    assert codes(text) == ["alias-expansion"]


# Positions


TEXT = """\
version: 1
request:   # what is sent
  prompt: |
    {{ subject }} in a garden,

    {{ season }}
  folded: >
    one
    two
  'quoted key': "two words"
matrix:
  style:
    - {id: photo, text: high-definition}
    - id: ink
      text: 'ink painting'
empty:
"""


@pytest.mark.parametrize(
    ("path", "key", "expected"),
    [
        (["version"], False, "1"),
        (["version"], True, "version"),
        (["request", "quoted key"], False, '"two words"'),
        (["request", "quoted key"], True, "'quoted key'"),
        (["request", "folded"], False, ">\n    one\n    two"),
        (["matrix", "style", 0], False, "{id: photo, text: high-definition}"),
        (["matrix", "style", 0], True, "{id: photo, text: high-definition}"),
        (["matrix", "style", 0, "text"], False, "high-definition"),
        (["matrix", "style", 1], False, "id: ink\n      text: 'ink painting'"),
        (["matrix", "style", 1, "text"], True, "text"),
        (["matrix", "style", 2], True, "style"),
        (["matrix", "size"], True, "matrix"),
        (["matrix", "style", "id"], True, "style"),
        (["version", "deeper"], False, "1"),
        (["empty"], False, ""),
        (["empty"], True, "empty"),
    ],
)
def test_spans(path: list[str | int], key: bool, expected: str) -> None:
    """Keys and values are found exactly; a path that doesn't exist, at its nearest parent."""
    assert under(TEXT, document(TEXT).span(path, key=key)) == expected


@pytest.mark.parametrize(
    ("path", "style"),
    [
        (["version"], "plain"),
        (["request", "prompt"], "|"),
        (["request", "folded"], ">"),
        (["request", "quoted key"], '"'),
        (["matrix", "style", 1, "text"], "'"),
        (["empty"], "plain"),
        (["matrix"], None),
        (["nowhere"], None),
    ],
)
def test_scalar_style(path: list[str | int], style: str | None) -> None:
    """How a text is written decides what can be said about places in it."""
    assert document(TEXT).scalar_style(path) == style


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: plain text # c\n", "plain text"),
        ("a: &x !!str 'single'\n", "single"),
        ('a: "double"\n', "double"),
        ("a: |\n  one\n\n    two\n  three\n", "one\n\n  two\nthree\n"),
        ("a: |-\n  one\n  two", "one\ntwo"),
        ("a: |+\n  one\n\n\nb: 1\n", "one\n\n\n"),
        ("a: |2\n    one\n  two\n", "  one\ntwo\n"),
        ("a: |\r\n  one\r\n  two\r\n", "one\ntwo\n"),
        ("a: |\n\n  one\n", "\none\n"),
        ("a: | # comment\n  one\n", "one\n"),
    ],
)
def test_text_position_finds_each_character(text: str, value: str) -> None:
    """Character for character, the file has at that place what the value has."""
    found = document(text)
    assert found.data["a"] == value
    for offset, character in enumerate(value):
        place = found.text_position(["a"], offset)
        assert place is not None
        assert found.text[place.offset] == character or (character, found.text[place.offset]) == ("\n", "\r")
    assert found.text_position(["a"], len(value)) is not None
    assert found.text_position(["a"], len(value) + 1) is None


@pytest.mark.parametrize(
    "text", ['a: "tab\\there"', "a: 'it''s'", "a: >\n  one\n  two", "a: one\n  two", "a: 5", 'a: "one\n  two"']
)
def test_text_position_is_silent_where_it_would_be_false(text: str) -> None:
    """Escapes, folding and continued lines have no simple places."""
    assert document(text).text_position(["a"], 1) is None


def test_finding_carries_its_place() -> None:
    """The path is given; line and column come with it."""
    found = document(TEXT).finding("unknown-field", "no such field", ["request", "prompt"], key=True, hint="ask")
    assert (found.place, found.severity, found.hint) == ("job.yaml:3:3", "error", "ask")


# Refusals


def test_the_root_is_what_is_asked_for() -> None:
    """A job file is a mapping, an axis file a list."""
    assert parse(b"- a\n- 16:9\n", "axis.yaml", root="list").data == ["a", "16:9"]
    assert load("- a", root="any") == ["a"]
    assert codes("- a") == ["wrong-root"]
    assert codes("a: 1", root="list") == ["wrong-root"]
    assert codes("null") == ["wrong-root"]


def test_depth_is_bounded_without_recursion() -> None:
    """A hundred levels are read; a hundred thousand are one finding."""
    deep = yaml_reader.MAX_DEPTH - 1
    for text, place in (
        ("a: " + "[" * 100_000, "1:103"),
        ("a: " + "[" * 1_100 + "]" * 1_100, "1:103"),
        ("{a: " * 50_000, "1:401"),
        ("- " * 50_000, "1:201"),
        ("".join(" " * level + "a:\n" for level in range(1_200)), "101:101"),
        ("a: *b\nc: " + "[" * 100_000, "2:103"),
    ):
        with pytest.raises(FindingsError) as caught:
            load(text)
        *before, last = caught.value.diagnostics
        assert (last.code, last.place) == ("too-deep", f"job.yaml:{place}")
        assert [item.code for item in before] == ["undefined-alias"] * text.count("*")
    with pytest.raises(FindingsError) as caught:
        parse(b"- " * 50_000, "axis.yaml", root="list")
    assert [(item.code, item.place) for item in caught.value.diagnostics] == [("too-deep", "axis.yaml:1:201")]
    found = load("a: " + "[" * deep + "]" * deep)
    assert json.dumps(found).count("[") == deep


@pytest.mark.parametrize(
    "stop",
    [
        RecursionError("maximum recursion depth exceeded"),
        ScannerError("while increasing flow level", None, "exceeded maximum nesting depth", Mark("", 6, 0, 6, None, 0)),
    ],
    ids=["recursion", "limit"],
)
def test_a_parser_that_stops_before_our_limit_says_too_deep(stop: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever limit a release of PyYAML brings: the finding has one name."""

    def never(*_: object, **__: object) -> Any:
        raise stop

    monkeypatch.setattr(yaml, "parse", never)
    assert codes("a: [[[[") == ["too-deep"]


def test_exactly_what_yaml_calls_printable_is_allowed() -> None:
    """Every code point, by YAML 1.1's own list, but for the breaks that editors and YAML count differently."""
    printable = re.compile("[\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert re.sub(UNPRINTABLE, "", every) == "".join(printable.findall(every))
    assert not any(map(str.isprintable, re.findall(UNPRINTABLE, every)))  # what is printable is not looked at


def test_size_is_bounded() -> None:
    """A file of 1 MiB is read; one byte more is not looked at."""
    line = b"a: "
    assert parse(line + b"x" * (MAX_BYTES - len(line)), "job.yaml").data
    assert codes(line + b"x" * (MAX_BYTES - len(line) + 1)) == ["file-too-large"]


def test_every_finding_is_reported_at_once() -> None:
    """Also those before a break of the syntax."""
    assert codes("a: yes\na: 1\nb: *c\nd: [1\n") == [
        "ambiguous-scalar",
        "duplicate-key",
        "undefined-alias",
        "unclosed-bracket",
    ]


def test_a_second_document_ends_the_reading_and_an_end_mark_does_not() -> None:
    """'...' may close the file."""
    assert load("---\na: 1\n...\n") == {"a": 1}
    assert codes("a: 1\n...\n---\nb: 1\n") == ["second-document"]
    assert load("%YAML 1.2\n---\na: 1\n") == {"a": 1}


def test_python_lines_are_not_run(tmp_path: Path) -> None:
    """A tag never makes an object."""
    target = tmp_path / "made"
    assert codes(f"a: !!python/object/apply:pathlib.Path.touch [{target}]") == ["tag"]
    assert not target.exists()


# Files


def test_a_missing_file_is_a_refusal_with_a_guess(tmp_path: Path) -> None:
    """One clear line with the next step."""
    (tmp_path / "garden.yaml").touch()
    with pytest.raises(UsageError, match=r"gardn\.yaml: no such file") as caught:
        read_named(tmp_path / "gardn.yaml", "gardn.yaml")
    assert caught.value.hint == "did you mean 'garden.yaml'?"
    (tmp_path / "link.yaml").symlink_to("nowhere.yaml")  # not: did you mean 'link.yaml'?
    with pytest.raises(UsageError, match=r"link\.yaml: the link leads to no file"):
        read_named(tmp_path / "link.yaml", "link.yaml")


def test_a_folder_is_a_refusal(tmp_path: Path) -> None:
    """With a file in it as an example."""
    (tmp_path / "garden.yaml").touch()
    with pytest.raises(UsageError, match="is a folder") as caught:
        read_named(tmp_path, "campaign")
    assert caught.value.hint == "such as 'campaign/garden.yaml'"
    with pytest.raises(UsageError, match="not a folder"):
        read_named(tmp_path / "garden.yaml" / "x.yaml", "x.yaml")


@pytest.mark.skipif(sys.platform == "win32", reason="modes and links of POSIX")
def test_other_unreadable_files_are_refusals(tmp_path: Path) -> None:
    """A loop of links, a name with NUL; and a file without permission, where the user can be refused."""
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    with pytest.raises(UsageError, match="leads back to itself"):
        read_named(loop, "loop.yaml")
    with pytest.raises(UsageError, match="leads out"):
        read_named(tmp_path / "a\0b", "a")
    closed = tmp_path / "closed.yaml"
    closed.touch(mode=0o000)
    try:
        closed.read_bytes()
    except PermissionError:
        with pytest.raises(UsageError, match="no permission"):
            read_named(closed, "closed.yaml")


def test_a_flood_of_errors_is_cut_and_a_flood_of_warnings_is_not_an_error() -> None:
    """A wrong file says so once, in two hundred ways at most; ten thousand dates are still ten thousand values."""
    assert codes("a: 1\n" * 1000).count("duplicate-key") == 200
    assert codes(b"\0" * 100_000)[-1] == "too-many-errors"
    found = document("a:\n" + "  - 2026-01-01\n" * 1000)
    assert len(found.data["a"]) == 1000
    assert len(found.warnings) == 101


def test_comments_between_an_anchor_and_its_value() -> None:
    """The span is the value's."""
    text = "a: &x # why\n  !!str\n  word\n"
    assert under(text, document(text).span(["a"])) == "word"


def test_without_libyaml_the_parser_in_python_is_taken() -> None:
    """PyYAML may have been built without it."""
    program = (
        "import sys; sys.modules['yaml._yaml'] = None\n"
        "from seedream_jobs.job.yaml_reader import HAVE_LIBYAML, parse\n"
        "print(HAVE_LIBYAML, parse(b'size: [16:9, 1:1]', 'job.yaml').data)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False {'size': ['16:9', '1:1']}\n"
