"""``@frozen`` makes the class that ``@dataclass(frozen=True, slots=True, kw_only=True)`` makes."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields, is_dataclass, replace
from typing import Any, ClassVar

import pytest

from seedream_jobs.frozen import frozen


class _Place:
    """The body that both decorators are given."""

    kind: ClassVar[str] = "place"
    name: str
    line: int = 1
    tags: list[str] = field(default_factory=list)
    note: str = field(default="", compare=False, repr=False)

    def moved(self) -> Any:
        """The same, a line further down."""
        return replace(self, line=self.line + 1)  # type: ignore[type-var]

    @property
    def place(self) -> str:
        """Where it is."""
        return f"{self.name}:{self.line}"


@frozen
class Empty:
    """Nothing at all."""


@frozen
class Pair:
    """Two parts that can be hashed."""

    left: int
    right: str | None = None


@frozen
class Positive:
    """A class that looks at what it is given."""

    number: int

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError(f"{self.number} is not positive")


@frozen
class Spoken:
    """A class with a text of its own."""

    word: str

    def __repr__(self) -> str:
        return self.word


def made(decorate: Callable[[type], type]) -> Any:
    """The class as one of the decorators makes it."""
    return decorate(type("Place", (), dict(vars(_Place)) | {"__qualname__": "Place"}))


OURS = made(frozen)
THEIRS = made(dataclass(frozen=True, slots=True, kw_only=True))
GIVEN: tuple[dict[str, Any], ...] = (
    {"name": "a"},
    {"name": "a", "line": 2, "tags": ["x"], "note": "n"},
    {"name": "a", "note": "other"},
    {"name": "b", "tags": []},
)


def said(work: Callable[[], object]) -> tuple[type, str]:
    """What was made, or what was raised."""
    try:
        found = work()
    except Exception as error:
        return type(error), str(error)
    return str, repr(found)


def test_the_classes_are_alike() -> None:
    """Slots, fields, documentation, and what ``match`` sees."""
    assert is_dataclass(OURS)
    assert OURS.__slots__ == THEIRS.__slots__
    assert [(one.name, one.type, one.default, one.compare) for one in fields(OURS)] == [
        (one.name, one.type, one.default, one.compare) for one in fields(THEIRS)
    ]
    assert OURS.__match_args__ == THEIRS.__match_args__ == ()
    assert (OURS.__doc__, OURS.__module__, OURS.__qualname__) == (
        THEIRS.__doc__,
        THEIRS.__module__,
        THEIRS.__qualname__,
    )
    assert not hasattr(OURS(name="a"), "__dict__")
    # Known from the first value on.
    assert list(inspect.signature(OURS).parameters) == list(inspect.signature(THEIRS).parameters)


@pytest.mark.parametrize("given", GIVEN)
def test_the_values_are_alike(given: dict[str, Any]) -> None:
    """Texts, parts, copies; a default list belongs to one value."""
    ours, theirs = OURS(**given), THEIRS(**given)
    assert repr(ours) == repr(theirs)
    assert repr(ours.moved()) == repr(theirs.moved())
    assert (ours.place, ours.kind) == (theirs.place, theirs.kind)
    assert repr(copy.deepcopy(ours)) == repr(theirs)
    assert OURS(name="a").tags is not OURS(name="a").tags
    assert ours != theirs
    for other in GIVEN:
        assert (ours == OURS(**other)) == (theirs == THEIRS(**other))


@pytest.mark.parametrize(
    "attempt",
    [
        lambda kind: kind(),
        lambda kind: kind("a"),
        lambda kind: kind(name="a", other=1),
        lambda kind: setattr(kind(name="a"), "name", "b"),
        lambda kind: delattr(kind(name="a"), "line"),
        lambda kind: hash(kind(name="a")),
        lambda kind: replace(kind(name="a"), other=1),
        lambda kind: kind(name="a") < kind(name="b"),
    ],
)
def test_what_is_refused_is_refused_alike(attempt: Callable[[Any], object]) -> None:
    """With the same exception and the same words."""
    ours, theirs = said(lambda: attempt(OURS)), said(lambda: attempt(THEIRS))
    assert ours[0] is theirs[0] is not str
    if ours[0] is not AttributeError:
        assert ours == theirs


def test_hashes_go_with_equality() -> None:
    """Values are keys of sets and mappings."""
    assert len({Pair(left=1), Pair(left=1, right=None), Pair(left=2)}) == 2
    assert len({Empty(), Empty()}) == 1
    assert Pair(left=1) != (1, None)


def test_a_value_is_pickled_and_copied() -> None:
    """Although nothing may be set on it."""
    value = Pair(left=1, right="x")
    assert pickle.loads(pickle.dumps(value)) == copy.copy(value) == value


def test_a_method_of_the_class_is_kept() -> None:
    assert repr(Spoken(word="hello")) == "hello"


def test_a_value_looks_at_what_it_is_given() -> None:
    """Also where another one is made of it."""
    assert Positive(number=1).number == 1
    with pytest.raises(ValueError, match="0 is not positive"):
        Positive(number=0)
    with pytest.raises(ValueError, match="-1 is not positive"):
        replace(Positive(number=1), number=-1)


def test_what_it_does_not_know_is_refused() -> None:
    """Rather than ignored."""
    with pytest.raises(TypeError, match="later"):
        frozen(type("Odd", (), {"__annotations__": {"later": int}, "later": field(init=False)}))


def test_nothing_is_set_on_a_value() -> None:
    with pytest.raises(FrozenInstanceError):
        Pair(left=1).left = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        Pair(left=1).other = 2  # type: ignore[attr-defined]
