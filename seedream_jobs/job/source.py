"""Reads a YAML file into plain data that knows where each of its keys and values stands.

What is accepted, and why, is in docs/yaml.md: one document, UTF-8, at most 1 MiB, JSON's values only.
"""

from __future__ import annotations

import errno
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from yaml.error import MarkedYAMLError

from seedream_jobs.diagnostics import Diagnostic, Pos, Related, Severity, Span, closest, in_order
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.frozen import frozen
from seedream_jobs.job.builder import MAX_DEPTH, Builder
from seedream_jobs.job.positions import Layout, Lines, PathPart, Style, literal_rows, style_at
from seedream_jobs.job.yaml_events import HAVE_LIBYAML, is_depth, open_events
from seedream_jobs.job.yaml_findings import Findings, Stop

MAX_BYTES = 1024 * 1024
"""The size of a YAML file, in bytes."""

Root = Literal["mapping", "list", "any"]

# All but YAML 1.1's printable characters, and the breaks that editors and YAML count differently, and a byte order mark
# inside the text. It is not written as a negation: that takes Python 4 ms to compile.
UNPRINTABLE = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@frozen
class Document:
    """A YAML document: its data, and where everything in it stands.

    :param path: the file as the user named it, for findings
    :param text: the file's text, without a byte order mark; spans are offsets in it
    :param data: dict, list, str, int, float, bool and None, with anchors and ``<<`` applied; values of one anchor are
        one object, so don't change it in place
    :param warnings: what is allowed and probably not meant
    """

    path: str
    text: str
    data: Any
    warnings: tuple[Diagnostic, ...]
    lines: Lines
    layout: Layout

    def span(self, path: Sequence[PathPart], *, key: bool = False) -> Span:
        """Where the value at ``path`` stands; with ``key``, the mapping key that leads to it (an item has none).

        For a path that doesn't exist: where its nearest existing parent stands. A value that came through an alias
        stands where it is used, its parts where they are written; a key that came through ``<<``, too.
        """
        node, key_node, _ = self.layout.find(path)
        return self.lines.span(*self.layout.extent(self.text, node if key_node is None or not key else key_node))

    def exists(self, path: Sequence[PathPart]) -> bool:
        """Whether the document has a value at ``path``."""
        return self.layout.find(path)[2]

    def scalar_style(self, path: Sequence[PathPart]) -> Style | None:
        """How the scalar at ``path`` is written: ``plain``, ``|``, ``>``, ``'`` or ``"``; None if it is none."""
        found = self._scalar(path)
        return None if found is None else style_at(self.text, *found[:2])

    def text_position(self, path: Sequence[PathPart], offset: int) -> Pos | None:
        """Where character ``offset`` (from 0) of the text at ``path`` stands in the file, if that is exact.

        It is for ``|`` blocks and for scalars on one line without escapes; elsewhere None, rather than a false place.
        """
        found = self._scalar(path)
        if found is None or not isinstance(found[2], str) or not 0 <= offset <= len(found[2]):
            return None
        start, end, value = found
        style = style_at(self.text, start, end)
        if style == "|":
            for at, row in literal_rows(self.lines, start, value):
                if offset <= len(row):
                    return self.lines.pos(at + offset)
                offset -= len(row) + 1
            return None
        inner = start if style == "plain" else start + 1
        if style == ">" or self.text[inner : inner + len(value)] != value or "\n" in value:
            return None
        if inner + len(value) != (end if style == "plain" else end - 1):
            return None
        return self.lines.pos(inner + offset)

    def finding(
        self,
        code: str,
        message: str,
        path: Sequence[PathPart],
        *,
        key: bool = False,
        severity: Severity = "error",
        hint: str | None = None,
        related: tuple[Related, ...] = (),
    ) -> Diagnostic:
        """A finding at ``path``, or with ``key`` at its key."""
        return Diagnostic(
            code=code,
            severity=severity,
            message=message,
            path=self.path,
            span=self.span(path, key=key),
            hint=hint,
            related=related,
        )

    def _scalar(self, path: Sequence[PathPart]) -> tuple[int, int, Any] | None:
        """The offsets and the value of the scalar at ``path``; of an alias, where its anchor's value is written."""
        node, _, exists = self.layout.find(path)
        value = self.data
        if not exists:
            return None
        for part in path:
            value = value[part]
        if isinstance(value, dict | list):
            return None
        return *self.layout.extent(self.text, self.layout.targets.get(node, node)), value


def decode(raw: bytes) -> str:
    """The text that findings about ``raw`` point into: without byte order mark, with U+FFFD for what is not UTF-8."""
    return raw.decode("utf-8-sig", errors="replace")


def parse(raw: bytes, path: str, *, root: Root = "mapping", libyaml: bool = HAVE_LIBYAML) -> Document:
    """The document in ``raw``, a file's bytes.

    :param path: the file as the user named it
    :param root: what the document must be: a mapping (a job file), a list (an axis file), or either of them or a scalar
    :param libyaml: parse in C; False for PyYAML's parser in Python, which reads the same
    :raises FindingsError: with every finding; after a break of YAML's syntax nothing more can be found
    """
    findings = Findings(path, Lines(decode(raw)))
    builder = Builder(findings.lines.text, findings.lines, findings)
    with suppress(Stop):
        _check_bytes(raw, findings)
        try:
            builder.run(open_events(builder.text, libyaml=libyaml))
        except RecursionError:
            findings.too_deep(builder.last_end, MAX_DEPTH)
        except MarkedYAMLError as error:
            if libyaml and is_depth(error):
                # libyaml reads ahead and stops at a limit of its own; Python's parser comes as far as ours, so that
                # the finding stands at the same place.
                return parse(raw, path, root=root, libyaml=False)
            from seedream_jobs.job.yaml_syntax import explain  # most files need no explanation

            explain(error, findings.lines, findings)
        else:
            _check_root(builder, findings, root)
    if "：" in builder.text:
        _full_width(builder, findings)
    ordered = in_order(findings.items)
    if any(item.severity == "error" for item in ordered):
        raise FindingsError(ordered)
    return Document(
        path=path,
        text=builder.text,
        data=builder.root,
        warnings=ordered,
        lines=findings.lines,
        layout=builder.layout,
    )


def parse_list(raw: bytes, path: str) -> list[Any]:
    """The items of an axis file, a YAML document that is a list.

    :raises FindingsError: as ``parse`` does
    """
    items: list[Any] = parse(raw, path, root="list").data
    return items


def read(file: Path, shown: str | None = None, *, root: Root = "mapping") -> Document:
    """The document in ``file``.

    :param shown: how the user named the file
    :raises UsageError: if it is missing, a folder, or unreadable
    :raises FindingsError: for what is wrong in it
    """
    shown = str(file) if shown is None else shown
    return parse(read_bytes(file, shown), shown, root=root)


def read_bytes(file: Path, shown: str) -> bytes:
    """A YAML file's bytes, at most one more than ``MAX_BYTES``.

    :raises UsageError: if it is missing, a folder, a pipe or a device, or unreadable
    """
    try:
        mode = file.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise UsageError(
                f"{shown}: it is no regular file", hint="a pipe or a device can't be read twice: save it as a file"
            )
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        guess = closest(file.name, _yaml_files(file.parent))
        hint = "check the path" if guess is None else f"did you mean '{Path(shown).with_name(guess)}'?"
        raise UsageError(f"{shown}: no such file", hint=hint) from None
    except (IsADirectoryError, NotADirectoryError):
        inside = _yaml_files(file)
        hint = f"such as '{Path(shown) / inside[0]}'" if inside else "name a YAML file"
        what = "is a folder, not a job file" if file.is_dir() else "no such file; a part of its path is not a folder"
        raise UsageError(f"{shown}: {what}", hint=hint) from None
    except PermissionError:
        raise UsageError(f"{shown}: no permission to read it", hint="check the file's owner and mode") from None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ELOOP:
            hint = "name the file that it should lead to"
            raise UsageError(f"{shown}: it is a symbolic link that leads back to itself", hint=hint) from None
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"{shown}: can't be read: {reason}", hint="check the path") from None


def _yaml_files(folder: Path) -> list[str]:
    """The names of the YAML files in a folder, sorted; none if it can't be listed."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.suffix in (".yaml", ".yml"))
    except OSError:
        return []


def _check_bytes(raw: bytes, findings: Findings) -> None:
    """Refuses what is no text of a sensible size.

    :raises Stop: if anything was found; a parser would only repeat it in other words
    """
    if len(raw) > MAX_BYTES:
        size = f"the file has more than {MAX_BYTES:,} bytes (1 MiB)"
        findings.add("file-too-large", size, 0, 0, hint="move the prompts to a file of their own: {from: prompts.tsv}")
        raise Stop
    try:
        raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _not_utf8(raw, error, findings)
        raise Stop from None
    text = findings.lines.text
    suspect = not text.replace("\n", "").isprintable()  # else the pattern need not even be compiled
    for match in re.finditer(UNPRINTABLE, text) if suspect else ():
        code = f"U+{ord(match.group()):04X}"
        hint = "remove it; in a quoted text it can be written as an escape"
        findings.add("control-character", f"the character {code} is not allowed", match.start(), match.end(), hint=hint)
    if findings.items:
        raise Stop


def _not_utf8(raw: bytes, error: UnicodeDecodeError, findings: Findings) -> None:
    # "utf-8-sig" counts from behind the byte order mark.
    mark = 3 if raw.startswith(b"\xef\xbb\xbf") else 0
    at = error.start + mark if error.object is not raw and mark else error.start
    offset = len(decode(raw[:at]))
    if raw.startswith(_UTF16):
        message, hint = "the file is UTF-16, not UTF-8", "save it as UTF-8"
    else:
        message = f"the file is not UTF-8: byte 0x{raw[at]:02x} at byte offset {at}"
        hint = "save it as UTF-8 (it may be Latin-1 or Windows-1252 now)"
    findings.add("not-utf8", message, offset, offset + 1, hint=hint)


def _check_root(builder: Builder, findings: Findings, root: Root) -> None:
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


# fmt: off
_KEYS = frozenset({
    "column", "dir", "exclude", "from", "glob", "image_urls", "include", "limit", "limits", "lint", "matrix", "model",
    "n", "name", "output", "output_format", "prompt", "range", "repeat", "request", "resolution", "size", "types",
    "vars", "version", "watermark", "where", "zip",
})
# fmt: on


def _full_width(builder: Builder, findings: Findings) -> None:
    """``size：16:9``: keys that an input method wrote with its own colon, which YAML takes for a letter."""
    layout, text = builder.layout, builder.text
    broken = {item.span.start.line for item in findings.items if item.severity == "error" and item.span}
    for match in re.finditer(r"(?m)^[ \t]*(?:- )*([A-Za-z_]\w*)：", text):
        at = match.end() - 1
        known = match[1] in _KEYS
        if broken and (known or findings.lines.pos(at).line in broken):
            severity: Severity = "error"
            message = "'：' is no colon to YAML"
        elif known and any(
            start < at < end and node not in layout.kids and style_at(text, *layout.extent(text, node)) == "plain"
            for node, (start, end) in enumerate(zip(layout.starts, layout.ends, strict=True))
        ):
            severity = "warning"
            message = f"'{match[1]}：…' is read as a part of the text before it: '：' is no colon to YAML"
        else:
            continue
        hint = f"write '{match[1]}: ', a half-width colon and a space"
        findings.add("fullwidth-colon", message, at, at + 1, severity=severity, hint=hint)
    told = {item.span.start.line for item in findings.items if item.code == "fullwidth-colon" and item.span}
    guesses = ("missing-colon", "missing-space", "unquoted-colon", "wrong-root")
    findings.items = [
        item
        for item in findings.items
        if item.code not in guesses or item.span is None or item.span.start.line not in told
    ]
