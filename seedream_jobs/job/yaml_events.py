"""YAML's events, from libyaml where PyYAML was built with it and from PyYAML's own parser elsewhere, alike in both."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NoReturn, cast

from yaml.error import MarkedYAMLError
from yaml.events import ScalarEvent
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner, ScannerError

try:
    from yaml._yaml import CParser
except ImportError:  # PyYAML without libyaml
    HAVE_LIBYAML = False
else:
    HAVE_LIBYAML = True

_SURROGATE = "[\ud800-\udfff]"  # compiled by the parser in Python alone
BAD_CODE_POINT = "found invalid Unicode character escape code"


class _PyYaml(Reader, Scanner, Parser):
    """PyYAML's parser in Python as its loaders compose it."""

    peek: Callable[..., str]
    prefix: Callable[..., str]
    forward: Callable[..., None]
    get_mark: Callable[[], Any]
    get_event: Callable[[], Any]
    scan_line_break: Callable[[], str]


class _PythonParser(_PyYaml):
    """PyYAML's parser in Python, brought to agree with libyaml on tabs and on escapes that are no characters.

    Tabs separate tokens and may stand inside plain texts; only in an indentation they may not.
    """

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)

    def next_event(self) -> Any:
        """The next event."""
        try:
            event: Any = self.get_event()
        except (ValueError, OverflowError) as error:  # chr() of "\UFFFFFFFF"
            here = self.get_mark()
            raise MarkedYAMLError(None, here, BAD_CODE_POINT, here) from error
        if type(event) is ScalarEvent and event.style == '"' and re.search(_SURROGATE, event.value):
            start: Any = event.start_mark
            raise MarkedYAMLError(None, start, BAD_CODE_POINT, start)
        return event

    def scan_to_next_token(self) -> None:
        super().scan_to_next_token()
        while self.peek() == "\t" and (self.flow_level or not self.allow_simple_key):
            self.forward()
            super().scan_to_next_token()

    def scan_plain_spaces(self, indent: int, start_mark: Any) -> list[str] | None:
        blanks = self._blanks()
        if self.peek() not in "\r\n":
            return [blanks] if blanks else []
        self.scan_line_break()
        self.allow_simple_key = True
        breaks = 0
        while True:
            if self.prefix(3) in ("---", "...") and self.peek(3) in "\0 \t\r\n":
                return None
            while self.peek() in " \t":
                if self.peek() == "\t" and self.column < indent:
                    self._refuse_tab("while scanning a plain scalar", start_mark)
                self.forward()
            if self.peek() not in "\r\n":
                return ["\n" * breaks or " "]
            self.scan_line_break()
            breaks += 1

    def scan_block_scalar_ignored_line(self, start_mark: Any) -> None:
        self._blanks()
        super().scan_block_scalar_ignored_line(start_mark)

    def scan_directive_ignored_line(self, start_mark: Any) -> None:
        self._blanks()
        super().scan_directive_ignored_line(start_mark)

    def scan_block_scalar_indentation(self) -> Any:
        found = super().scan_block_scalar_indentation()
        if self.peek() == "\t":
            self._refuse_tab("while scanning a block scalar", None)
        return found

    def scan_block_scalar_breaks(self, indent: int) -> Any:
        found = super().scan_block_scalar_breaks(indent)
        if self.column < indent and self.peek() == "\t":
            self._refuse_tab("while scanning a block scalar", None)
        return found

    def _blanks(self) -> str:
        """Takes spaces and tabs."""
        length = 0
        while self.peek(length) in " \t":
            length += 1
        blanks = self.prefix(length)
        self.forward(length)
        return blanks

    def _refuse_tab(self, context: str, start_mark: Any) -> NoReturn:
        raise ScannerError(context, start_mark, "found a tab character that violates indentation", self.get_mark())


def open_events(text: str, *, libyaml: bool = HAVE_LIBYAML) -> Callable[[], Any]:
    """A function that returns the next event of ``text`` each time it is called.

    :param libyaml: take the parser in C; False for the one in Python
    :raises MarkedYAMLError: from the returned function, at the first break of YAML's syntax
    """
    if libyaml:
        return cast(Callable[[], Any], CParser(text).get_event)
    return _PythonParser(text).next_event


def is_depth(error: MarkedYAMLError) -> bool:
    """Whether the parser stopped at a limit of its own for values within each other (libyaml 0.2.6: 1000)."""
    return "nesting depth" in str(error.problem)
