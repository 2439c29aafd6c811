"""Axes and their values, and how a pattern in ``include``, ``exclude`` or ``--select`` names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DocumentPath = tuple[str | int, ...]
"""A place in the job file: the keys and indexes that lead to it."""

MAX_VALUES = 1_000_000
"""The most values of one axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisValue:
    """One value of an axis: what templates see, what people call it, where it is written; one of each per name."""

    bindings: tuple[Any, ...]
    labels: tuple[Any, ...]
    paths: tuple[DocumentPath, ...]

    @property
    def path(self) -> DocumentPath:
        """Where its first part is written."""
        return self.paths[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis of the matrix: one name, or the several names of a ``zip`` that move together.

    :param path: where the axis is written; for a zip, the place of the mapping that holds its names
    """

    names: tuple[str, ...]
    values: tuple[AxisValue, ...]
    path: DocumentPath
    zipped: bool = False

    def name_path(self, name: str) -> DocumentPath:
        """Where the values of one of its names are written."""
        return (*self.path, name) if self.zipped else self.path


def label_of(value: Any, fallback: Any) -> Any:
    """What a value is called: itself if it is a scalar, a mapping's ``id``, the file names of a list of paths."""
    if isinstance(value, Mapping):
        named = value.get("id")
        return named if isinstance(named, str | int | float) else fallback
    if isinstance(value, list):
        if value and all(isinstance(item, str) for item in value):
            return "+".join(item.rsplit("/", 1)[-1][:40] for item in value)
        return fallback
    return value


def same(left: Any, right: Any) -> bool:
    """Equality as YAML means it: ``1`` is ``1.0`` but neither ``'1'`` nor ``true``."""
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    return bool(left == right)


def matches(pattern: Any, binding: Any, label: Any) -> bool:
    """Whether a pattern names a value: by the value, by a mapping's id, or by some of a mapping's fields."""
    if isinstance(pattern, Mapping):
        return isinstance(binding, Mapping) and all(
            key in binding and same(binding[key], wanted) for key, wanted in pattern.items()
        )
    if isinstance(binding, Mapping):
        return same(pattern, label)
    return same(pattern, binding)


def spoken(label: Any) -> str:
    """A label as text: ``true`` and ``null`` as YAML writes them."""
    if isinstance(label, bool):
        return "true" if label else "false"
    return "null" if label is None else str(label)
