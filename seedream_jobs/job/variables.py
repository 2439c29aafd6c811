"""The constants of a job's templates: its ``vars``, and what ``--set`` puts in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seedream_jobs.diagnostics import closest
from seedream_jobs.errors import UsageError
from seedream_jobs.job.yaml_reader import OutOfRange, number


def variables(given: Mapping[str, Any], sets: Mapping[str, str], shown: str) -> dict[str, Any]:
    """The job's variables, each ``--set`` text with the type of the one it replaces.

    :param shown: the job file as the user named it
    :raises UsageError: for a ``--set`` that names no variable, or whose text is not of the variable's type
    """
    result = dict(given)
    for name, text in sets.items():
        if name not in result:
            near = closest(name, result)
            hint = f"did you mean {near!r}?" if near else f"the job's vars are: {', '.join(result) or 'none'}"
            raise UsageError(f"--set {name}: {shown} has no such variable", hint=hint)
        if not _is_text(text):
            raise UsageError(f"--set {name}: its value is not UTF-8")
        result[name] = _like(result[name], text, name)
    return result


def _is_text(text: str) -> bool:
    """Whether it is Unicode; an argument of other bytes reaches Python as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _like(declared: Any, text: str, name: str) -> Any:
    if isinstance(declared, bool):
        if text not in ("true", "false"):
            raise UsageError(f"--set {name}={text}: {name} is true or false")
        return text == "true"
    if isinstance(declared, Mapping | list):
        raise UsageError(f"--set {name}: its value in the job file is no scalar", hint="change the job file")
    if isinstance(declared, int | float):
        try:
            value = number(text)
        except OutOfRange:
            value = None
        if value is None or (isinstance(declared, int) and isinstance(value, float)):
            kind = "a whole number" if isinstance(declared, int) else "a number"
            raise UsageError(f"--set {name}={text}: {name} is {kind}")
        return value
    return text
