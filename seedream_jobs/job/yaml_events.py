"""YAML's events, from libyaml where PyYAML was built with it and from PyYAML's own parser elsewhere, alike in both."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

from yaml.error import Mark, MarkedYAMLError
from yaml.events import Event, ScalarEvent
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

try:
    from yaml._yaml import CParser
except ImportError:  # PyYAML without libyaml
    HAVE_LIBYAML = False
else:
    HAVE_LIBYAML = True

_SURROGATE = re.compile("[\ud800-\udfff]")
BAD_CODE_POINT = "found invalid Unicode character escape code"


class _PythonParser(Reader, Scanner, Parser):
    """PyYAML's parser in Python, with libyaml's refusal of escapes that are no characters."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)

    def next_event(self) -> Event:
        try:
            event = cast(Event, self.get_event())  # type: ignore[no-untyped-call]
        except (ValueError, OverflowError) as error:  # chr() of "\UFFFFFFFF"
            here = self.get_mark()
            raise MarkedYAMLError(None, here, BAD_CODE_POINT, here) from error
        if type(event) is ScalarEvent and event.style == '"' and _SURROGATE.search(event.value):
            raise MarkedYAMLError(None, cast(Mark, event.start_mark), BAD_CODE_POINT, cast(Mark, event.end_mark))
        return event


def open_events(text: str, *, libyaml: bool = HAVE_LIBYAML) -> Callable[[], Any]:
    """A function that returns the next event of ``text`` each time it is called.

    :param libyaml: take the parser in C; False for the one in Python
    :raises MarkedYAMLError: from the returned function, at the first break of YAML's syntax
    """
    if libyaml:
        return cast(Callable[[], Any], CParser(text).get_event)
    return _PythonParser(text).next_event
