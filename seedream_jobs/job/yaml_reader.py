"""This module reads a YAML file in one pass over the parser's events: plain data, and where each key and value stands.

Called by ``load_job`` and by what reads axis files and policies. Invariant: a few lines can't stand for gigabytes.

Scalars are read as JSON would read them: YAML 1.1 makes 969 of ``16:9``, false of ``no`` and ten of ``012``; here they
are the text they look like, and where a reader may expect otherwise a warning says so. Anchors, aliases and ``<<`` are
applied on the way: the data shares an anchored value, and the size of it written out is added up *before* it is used.
"""

from __future__ import annotations

import errno
import json
import math
import re
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import yaml
from yaml.error import MarkedYAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from seedream_jobs.characters import find_misleading
from seedream_jobs.diagnostics import Severity, closest, shorten
from seedream_jobs.errors import UsageError
from seedream_jobs.inside import OutsideRoot, Withheld, read_start
from seedream_jobs.job.document import Document, Layout, Lines, check_findings
from seedream_jobs.job.files import Files, place_of
from seedream_jobs.job.ignored import checked_tree
from seedream_jobs.job.yaml_hints import MAX_DEPTH, StopReading, YamlFindings, explain
from seedream_jobs.resources import resource

HAVE_LIBYAML = hasattr(yaml, "CLoader")

MAX_BYTES = 1024 * 1024
"""The size of a YAML file, in bytes."""

Root = Literal["mapping", "list", "any"]

# All but YAML 1.1's printable characters, and the breaks that editors and YAML count differently, and a byte order mark
# inside the text. It is not written as a negation: that takes Python 4 ms to compile.
UNPRINTABLE = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

MAX_EXPANDED_NODES = 1_000_000
MAX_EXPANDED_CHARACTERS = 8 * 1024 * 1024
"""What a document may come to with every alias written out: keys and values, and characters."""

_GUESSED_AMONG = 200  # anchors
_MISLEADING = 20  # findings
_STR_TAG = "tag:yaml.org,2002:str"
_ROOT, _KEY, _VALUE, _ITEM = range(4)

Scalar = str | int | float | bool | None

WORDS: dict[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}
"""The plain scalars that are not text and not numbers."""

NUMERIC_START = frozenset("-0123456789")
"""The characters a JSON number may begin with."""

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1

# What YAML 1.1 (https://yaml.org/type/) reads as something other than text. Two groups of digits with one colon,
# which YAML 1.1 takes for base 60, are left out: they are ratios here, and never meant otherwise.
_SPELLINGS = (str.lower, str.capitalize, str.upper)
_BOOLEANS = frozenset(spell(word) for word in ("yes", "no", "on", "off", "true", "false") for spell in _SPELLINGS)
_NULLS = frozenset({"Null", "NULL"})
_DATE = r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t]+[0-9]{1,2}:[0-9]{2}:[0-9]{2}.*)?"
_TIME = r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9]){2,}(?:\.[0-9_]*)?"
_BASE = r"[-+]?0(?:[xX][0-9a-fA-F_]+|[bB][01_]+|[oO]?[0-7_]+)"
_LOOSE_NUMBER = (
    r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_NOT_TEXT_START = frozenset("+-.0123456789yYnNoOtTfF~")
_NUMERIC_END = frozenset("0123456789._abcdefABCDEFnN")


def decode(raw: bytes) -> str:
    """The text that findings about ``raw`` point into: without byte order mark, with U+FFFD for what is not UTF-8."""
    return raw.decode("utf-8-sig", errors="replace")


def parse(
    raw: bytes, path: str, *, root: Root = "mapping", libyaml: bool = HAVE_LIBYAML, limit: int = MAX_BYTES
) -> Document:
    """The document in ``raw``, a file's bytes.

    :param path: the file as the user named it
    :param root: what the document must be: a mapping (a job file), a list (an axis file), or either of them or a scalar
    :param limit: the most bytes
    :param libyaml: parse in C; False for PyYAML's parser in Python, which is slower and refuses some tabs
    :raises FindingsError: with every finding; after a break of YAML's syntax nothing more can be found
    """
    findings = YamlFindings(path, Lines(decode(raw)))
    builder = _Builder(findings)
    with suppress(StopReading):
        _check_bytes(raw, findings, limit)
        try:
            builder.run(yaml.parse(builder.text, Loader=yaml.CLoader if libyaml else yaml.Loader))
        except RecursionError:
            findings.too_deep(builder.last_end)
        except (ValueError, OverflowError):  # PyYAML's own parser makes a character of "\UFFFFFFFF"
            findings.bad_escape(builder.last_end, builder.last_end)
        except MarkedYAMLError as error:
            if "nesting depth" not in str(error.problem):
                explain(error, findings)
            elif libyaml:
                # libyaml reads ahead and stops at a limit of its own; Python's parser comes as far as ours, so that
                # the finding stands at the same place.
                return parse(raw, path, root=root, libyaml=False, limit=limit)
            else:
                findings.too_deep(builder.last_end)
        else:
            _check_root(builder, findings, root)
    if "：" in builder.text:
        with suppress(StopReading):  # one error too many
            _full_width(builder, findings)
    return Document(
        path=path,
        text=builder.text,
        data=builder.root,
        warnings=check_findings(findings.items),
        lines=findings.lines,
        layout=builder.layout,
    )


def read_named(file: Path, shown: str, files: Files | None = None) -> bytes:
    """The bytes of a job file or policy in a campaign: at most one more than ``MAX_BYTES``.

    :param files: the campaign's tree; the disk by default
    :raises UsageError: if it is missing, a folder, a pipe or a device, unreadable, or nothing that a job may read
    """
    root, path = place_of(file)
    with _refusals(file, shown):
        return (files or checked_tree(root)).read(path, limit=MAX_BYTES + 1, named=True)


def read_own(file: Path) -> bytes:
    """The bytes of a YAML file that is the operator's own, as an option names it, wherever it lies.

    :raises UsageError: if it is missing, a folder, a pipe or a device, or unreadable
    """
    with _refusals(file, str(file)):
        return read_start(file, MAX_BYTES + 1)


def no_permission(shown: object) -> UsageError:
    """The refusal of a file or folder whose mode does not let it be read."""
    return UsageError(f"{shown}: no permission to read it", hint="check the file's owner and mode")


@contextmanager
def _refusals(file: Path, shown: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        if file.is_symlink():
            hint = "name the file that it should lead to"
            raise UsageError(f"{shown}: the link leads to no file", hint=hint) from None
        # By the names without ".yaml", which are alike whatever they name.
        names = {Path(name).stem: name for name in _yaml_files(file.parent)}
        guess = names.get(closest(file.stem, names) or "")
        hint = "check the path" if guess is None else f"did you mean '{Path(shown).with_name(guess)}'?"
        raise UsageError(f"{shown}: no such file", hint=hint) from None
    except (IsADirectoryError, NotADirectoryError):
        inside = _yaml_files(file)
        hint = f"such as '{Path(shown) / inside[0]}'" if inside else "name a YAML file"
        what = "is a folder, not a job file" if file.is_dir() else "no such file; a part of its path is not a folder"
        raise UsageError(f"{shown}: {what}", hint=hint) from None
    except OutsideRoot:
        hint = "name the file that it leads to, or copy it into the campaign"
        raise UsageError(f"{shown}: it is a symbolic link that leads out of the campaign's folder", hint=hint) from None
    except Withheld as error:
        raise UsageError(f"{shown}: can't be read: {error.strerror}", hint=error.hint) from None
    except PermissionError:
        raise no_permission(shown) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            hint = "name the file that it should lead to"
            raise UsageError(f"{shown}: it is a symbolic link that leads back to itself", hint=hint) from None
        if error.errno == errno.EINVAL:
            hint = "a pipe or a device can't be read twice: save it as a file"
            raise UsageError(f"{shown}: it is no regular file", hint=hint) from None
        raise UsageError(f"{shown}: can't be read: {error.strerror or error}", hint="check the path") from None
    except ValueError as error:
        raise UsageError(f"{shown}: can't be read: {error}", hint="check the path") from None


def _yaml_files(folder: Path) -> list[str]:
    """Those that a person may mean: what is hidden is for other programs."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.suffix in (".yaml", ".yml"))
    except OSError:
        return []
    return [name for name in names if not name.startswith(".")]


def _check_bytes(raw: bytes, findings: YamlFindings, limit: int) -> None:
    """Refuses what is no text of a sensible size.

    :raises StopReading: if anything was found; a parser would only repeat it in other words
    """
    if len(raw) > limit:
        size = f"the file has more than {limit:,} bytes ({limit // 1024**2} MiB)"
        hint = "move the prompts to a file of their own: {from: prompts.tsv}" if limit == MAX_BYTES else None
        findings.add("file-too-large", size, 0, 0, hint=hint)
        raise StopReading
    try:
        raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _not_utf8(raw, error, findings)
        raise StopReading from None
    text = findings.lines.text
    suspect = not text.replace("\n", "").isprintable()  # else the pattern need not even be compiled
    for match in re.finditer(UNPRINTABLE, text) if suspect else ():
        code = f"U+{ord(match.group()):04X}"
        hint = "remove it; in a quoted text it can be written as an escape"
        findings.add("control-character", f"the character {code} is not allowed", match.start(), match.end(), hint=hint)
    for at, severity, message, hint in islice(find_misleading(text), _MISLEADING):
        findings.add("control-character", message, at, at + 1, hint=hint, severity=severity)
    if any(finding.severity == "error" for finding in findings.items):
        raise StopReading


def _not_utf8(raw: bytes, error: UnicodeDecodeError, findings: YamlFindings) -> None:
    # "utf-8-sig" counts from behind the byte order mark.
    mark = 3 if raw.startswith(b"\xef\xbb\xbf") else 0
    at = error.start + mark if error.object is not raw and mark else error.start
    offset = len(decode(raw[:at]))
    if raw.startswith(_UTF16):
        message, hint = "the file is UTF-16, not UTF-8", "save it as UTF-8"
    else:
        message = f"the file is not UTF-8: byte 0x{raw[at]:02x} at byte offset {at}"
        hint = "save it as UTF-8 (it may be GBK, Latin-1 or Windows-1252 now)"
    findings.add("not-utf8", message, offset, offset + 1, hint=hint)


def _check_root(builder: _Builder, findings: YamlFindings, root: Root) -> None:
    data = builder.root
    start, end = builder.layout.extent(builder.text, 0)
    if builder.documents == 0 or (data is None and start == end):
        hint = "begin with 'version: 1'" if root == "mapping" else None
        findings.add("empty-file", "the file has no content", 0, 0, hint=hint)
        return
    found = "mapping" if isinstance(data, dict) else "list" if isinstance(data, list) else "single value"
    if root in ("any", found):
        return
    hint = None
    if root == "mapping":
        wanted = "a mapping of keys to values"
        if isinstance(data, str) and ":" in data:
            hint = "write 'key: value', with a space after the colon"
    else:
        wanted, hint = "a list", "begin each item with '- '"
    stop = min(end, findings.lines.around(start)[1])
    findings.add("wrong-root", f"the file must be {wanted}, not a {found}", start, stop, hint=hint)


@cache
def _schema_keys() -> frozenset[str]:
    """The keys that the job file's schema names, at any depth."""
    found = set[str]()
    todo = [json.loads(resource("schemas", "job.schema.json").read_text("utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            found.update(properties if isinstance(properties := node.get("properties"), dict) else ())
            todo += node.values()
        elif isinstance(node, list):
            todo += node
    return frozenset(found)


def _full_width(builder: _Builder, findings: YamlFindings) -> None:
    """``size：16:9``: keys that an input method wrote with its own colon, which YAML takes for a letter."""
    text = builder.text
    broken = {item.span.start.line for item in findings.items if item.severity == "error" and item.span}
    for match in re.finditer(r"(?m)^[ \t]*(?:- )*([A-Za-z_]\w*)：", text):
        at = match.end() - 1
        known = match[1] in _schema_keys()
        if broken and (known or findings.lines.pos(at).line in broken):
            severity: Severity = "error"
            message = "'：' is no colon to YAML"
        elif known and _in_plain_scalar(builder, at):
            severity = "warning"
            message = f"'{match[1]}：…' is read as a part of the text before it: '：' is no colon to YAML"
        else:
            continue
        hint = f"write '{match[1]}: ', a half-width colon and a space"
        findings.add("fullwidth-colon", message, at, at + 1, severity=severity, hint=hint)
    # What the parser made of such a line is a guess: the colon is what is wrong.
    told = {item.span.start.line for item in findings.items if item.code == "fullwidth-colon" and item.span}
    guesses = ("missing-colon", "missing-space", "unquoted-colon", "wrong-root")
    findings.items = [
        item
        for item in findings.items
        if item.code not in guesses or item.span is None or item.span.start.line not in told
    ]


def _in_plain_scalar(builder: _Builder, at: int) -> bool:
    """Whether the character at an offset lies in a plain scalar: then no node begins between its start and there."""
    layout = builder.layout
    node = bisect_left(layout.starts, at) - 1
    return (
        node >= 0 and at < layout.ends[node] and node not in layout.kids and layout.style(builder.text, node) == "plain"
    )


# -- scalars -----------------------------------------------------------------------------------------------------------


class OutOfRange(ValueError):
    """A number that a computer's number types don't hold exactly or at all."""


def number(text: str) -> int | float | None:
    """The JSON number written as ``text``, None if it is not one.

    :raises OutOfRange: for an integer of more than 64 bits and for a number beyond a double's range
    """
    match = NUMBER.fullmatch(text)
    if match is None:
        return None
    if match.group(1) is None and match.group(2) is None:
        # 20 digits hold every 64-bit integer; asked first because int() refuses thousands of digits.
        if len(text) > 21 or not _MIN_INTEGER <= (value := int(text)) <= _MAX_INTEGER:
            raise OutOfRange(text)
        return value
    approximate = float(text)
    if not math.isfinite(approximate):
        raise OutOfRange(text)
    return approximate


def ambiguity(text: str) -> str | None:
    """What YAML 1.1 would have read where we read text, as a noun; None where it would have been text, too."""
    if text[:1] not in _NOT_TEXT_START:
        return None
    if text in _BOOLEANS and text not in WORDS:
        return "a boolean"
    if text in _NULLS:
        return "null"
    # What a pattern can't match is not shown to it: most files need none of them, and each takes a while to compile.
    if text[4:5] == "-" and re.fullmatch(_DATE, text):
        return "a date"
    if ":" in text:
        return "a number in base 60" if text.count(":") > 1 and re.fullmatch(_TIME, text) else None
    if text[-1] in _NUMERIC_END and (re.fullmatch(_BASE, text) or re.fullmatch(_LOOSE_NUMBER, text)):
        return "a number"
    return None


# -- from events to data -----------------------------------------------------------------------------------------------


# Keys that no text can be.
_MERGE: Final = object()  # where the value of "<<" waits for the end of its mapping
_NO_KEY: Final = object()  # where the value of a refused key goes


class _Anchored(NamedTuple):
    """An anchored value: ``nodes`` and ``characters`` are what it comes to written out."""

    value: Any
    node: int
    nodes: int
    characters: int


@dataclass(slots=True, eq=False, repr=False)
class _Frame:
    """A mapping or list that is being filled, and what was counted before it began."""

    mode: int
    container: Any
    kids: Any
    node: int
    flow: bool
    anchor: str | None = None
    nodes_before: int = 0
    characters_before: int = 0
    key: Any = None


class _Builder:
    """Reads the events of one document; afterwards ``root`` is its data and ``layout`` its places."""

    def __init__(self, findings: YamlFindings) -> None:
        self.text, self.findings = findings.lines.text, findings
        self.layout = Layout()
        self.root: Any = None
        self.documents = self.last_end = 0
        self._anchors: dict[str, _Anchored] = {}
        self._open: set[str] = set()
        self._stack: list[_Frame] = []
        self._extra_nodes = self._extra_characters = 0

    def run(self, events: Iterator[Any]) -> None:
        """Read to the end of the stream.

        :raises StopReading: where a finding makes the rest unreadable
        :raises MarkedYAMLError: from ``events``, at the first break of YAML's syntax
        """
        layout, frame = self.layout, _Frame(mode=_ROOT, container=None, kids=None, node=-1, flow=False)
        for event in events:
            kind = type(event)
            if kind is ScalarEvent:
                node = len(layout.starts)
                layout.starts.append(event.start_mark.index)
                layout.ends.append(event.end_mark.index)
                self.last_end = event.end_mark.index
                if frame.mode == _KEY:
                    frame.key, frame.mode = self._key(event, node, frame), _VALUE
                    if frame.key is not _NO_KEY:
                        frame.kids[frame.key] = node
                    continue
                value = self._scalar(event, node)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                frame = self._begin(event, frame)
                continue
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                value, node = self._finish(event, frame)
                frame = self._stack.pop()
            elif kind is AliasEvent:
                value, node = self._alias(event)
                if frame.mode == _KEY:
                    start, end = layout.starts[node], layout.ends[node]
                    self.findings.add("bad-key", "a key can't be an alias", start, end, hint="write the key itself")
            else:
                if kind is DocumentStartEvent:
                    self.documents += 1
                    if self.documents > 1:
                        start, end = event.start_mark.index, event.end_mark.index
                        hint = "move it to a file of its own, or remove the '---'"
                        message = "a second document begins here; a file holds one"
                        self.findings.add("second-document", message, start, end, hint=hint)
                        raise StopReading
                continue
            if frame.mode == _VALUE:
                frame.container[frame.key] = value
                frame.mode = _KEY
            elif frame.mode == _ITEM:
                frame.container.append(value)
                frame.kids.append(node)
            elif frame.mode == _KEY:  # a mapping, a list or an alias, which has its finding
                frame.key, frame.mode = _NO_KEY, _VALUE
            else:
                self.root = value

    def _scalar(self, event: Any, node: int) -> Scalar:
        """The value of a scalar: of a plain one what it reads as, of a quoted one its text."""
        value: Scalar = event.value
        if event.style == '"' and re.search("[\ud800-\udfff]", event.value):  # libyaml refuses it
            self.findings.bad_escape(self.layout.starts[node], self.layout.ends[node])
        if event.tag:
            if event.tag != _STR_TAG:
                self.findings.tag(event.tag, self.layout.starts[node], self.layout.ends[node])
        elif event.implicit[0] and (event.value in WORDS or event.value[0] in _NOT_TEXT_START):
            value = self._plain(event.value, node)
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(value, node, 1, len(event.value))
        return value

    def _plain(self, text: str, node: int) -> Scalar:
        """The value of a plain scalar whose first character says that it may be other than text."""
        if text in WORDS:
            return WORDS[text]
        if text[0] in NUMERIC_START:
            try:
                value = number(text)
            except OutOfRange:
                message = f"the number {shorten(text)} is too large to be kept exactly"
                hint = "quote it if it is text; integers have at most 64 bits, other numbers the range of a double"
                self.findings.add("number-out-of-range", message, *self._extent(node), hint=hint)
                return text
            if value is not None:
                return value
        otherwise = ambiguity(text)
        if otherwise is not None:
            self.findings.ambiguous(text, otherwise, *self._extent(node))
        return text

    def _key(self, event: Any, node: int, frame: _Frame) -> Any:
        """The key that a scalar is: its text, ``_MERGE`` for ``<<``, ``_NO_KEY`` for one that is refused."""
        key: str = event.value
        if key and key != "<<" and key not in frame.container and not event.anchor and not event.tag:
            return key
        start, end = self._extent(node)
        if event.tag and event.tag != _STR_TAG:
            self.findings.tag(event.tag, self.layout.starts[node], self.layout.ends[node])
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(key, node, 1, len(key))
        if event.implicit[0] and not key:
            self.findings.missing_key(start, end)
            return _NO_KEY
        if key in frame.container or (key == "<<" and _MERGE in frame.container):
            first = frame.kids[_MERGE if key == "<<" and _MERGE in frame.kids else key]
            related = self.findings.related(f"'{shorten(key)}' is given here first", *self._extent(first))
            message, hint = f"the key '{shorten(key)}' is given twice", "keep one of the two"
            self.findings.add("duplicate-key", message, start, end, hint=hint, related=(related,))
            return _NO_KEY
        return _MERGE if key == "<<" and event.implicit[0] else key

    def _extent(self, node: int) -> tuple[int, int]:
        return self.layout.extent(self.text, node)

    def _begin(self, event: Any, parent: _Frame) -> _Frame:
        layout = self.layout
        node, start = len(layout.starts), event.start_mark.index
        layout.starts.append(start)
        layout.ends.append(start)
        if len(self._stack) >= MAX_DEPTH:
            self.findings.too_deep(start)
            raise StopReading
        mapping = type(event) is MappingStartEvent
        flow = bool(event.flow_style)
        unquoted = flow and mapping and self.text.startswith("{{", start)
        if unquoted:
            self.findings.unquoted_template(start, in_flow=parent.flow)
        # The inner brace of an unquoted {{ is a mapping as a key: the outer one has its finding.
        if parent.mode == _KEY and not unquoted and self.text[start - 1 : start + 1] != "{{":
            self.findings.add("bad-key", "a key is a text, not a mapping or a list", start, event.end_mark.index)
        if event.tag:
            self.findings.tag(event.tag, start, event.end_mark.index)
        anchor = event.anchor
        if anchor:
            self._open.add(anchor)
        self._stack.append(parent)
        kids: Any = {} if mapping else []
        layout.kids[node] = kids
        counts = (node + self._extra_nodes, start + self._extra_characters)
        return _Frame(_KEY if mapping else _ITEM, {} if mapping else [], kids, node, flow, anchor, *counts)

    def _finish(self, event: Any, frame: _Frame) -> tuple[Any, int]:
        if frame.flow:  # the end of a block is only known from its last value; the event stands at what follows
            self.last_end = event.end_mark.index
        self.layout.ends[frame.node] = self.last_end
        value = frame.container
        if type(value) is dict and _MERGE in value:
            value = self._merge(frame)
        if frame.anchor:
            self._open.discard(frame.anchor)
            nodes = len(self.layout.starts) + self._extra_nodes - frame.nodes_before
            characters = self.last_end + self._extra_characters - frame.characters_before
            self._anchors[frame.anchor] = _Anchored(value, frame.node, nodes, characters)
        return value, frame.node

    def _alias(self, event: Any) -> tuple[Any, int]:
        layout = self.layout
        node, start, end = len(layout.starts), event.start_mark.index, event.end_mark.index
        layout.starts.append(start)
        layout.ends.append(end)
        self.last_end = end
        name: str = event.anchor
        if name in self._open:
            message = f"'*{shorten(name)}' stands inside the value it stands for"
            self.findings.add("cyclic-alias", message, start, end)
            return None, node
        found = self._anchors.get(name)
        if found is None:
            # Looking for a similar name is slow among many.
            guess = closest(name, self._anchors) if len(self._anchors) <= _GUESSED_AMONG else None
            hint = "define it before its use with '&', or quote the value if it is text"
            hint = hint if guess is None else f"did you mean '*{guess}'?"
            message = f"no anchor named '{shorten(name)}' above this line"
            self.findings.add("undefined-alias", message, start, end, hint=hint)
            return None, node
        self._extra_nodes += found.nodes
        self._extra_characters += found.characters
        nodes = node + self._extra_nodes
        if nodes > MAX_EXPANDED_NODES or end + self._extra_characters > MAX_EXPANDED_CHARACTERS:
            message = f"with '*{shorten(name)}' written out, the file grows beyond what is read"
            hint = "use fewer aliases of large values, or move the values to a file of their own"
            self.findings.add("alias-expansion", message, start, end, hint=hint)
            raise StopReading
        layout.targets[node] = found.node
        return found.value, node

    def _merge(self, frame: _Frame) -> dict[str, Any]:
        """The mapping with ``<<`` applied: merged keys first, an earlier source before a later one, then its own."""
        own, own_kids = frame.container, frame.kids
        merged = own.pop(_MERGE)
        node = own_kids.pop(_MERGE) + 1
        layout = self.layout
        nodes = [node]
        if isinstance(merged, list):
            nodes = list(layout.kids[layout.targets.get(node, node)])
        data: dict[str, Any] = {}
        kids: dict[str, int] = {}
        for source, at in zip(merged if isinstance(merged, list) else [merged], nodes, strict=False):
            if not isinstance(source, dict):
                if self.text[layout.starts[at]] == "*" and at not in layout.targets:
                    continue  # an alias that has its own finding
                message, hint = "'<<' takes a mapping or a list of mappings", "such as '<<: *defaults'"
                self.findings.add("bad-merge", message, layout.starts[at], layout.ends[at], hint=hint)
                continue
            source_kids = layout.kids[layout.targets.get(at, at)]
            for key, value in source.items():
                if key not in data and isinstance(source_kids, dict) and key in source_kids:
                    data[key] = value
                    kids[key] = source_kids[key]
        data.update(own)
        kids.update(own_kids)
        layout.kids[frame.node] = kids
        return data
