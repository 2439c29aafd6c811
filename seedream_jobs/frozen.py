"""Values: dataclasses that are frozen, slotted and keyword-only, made in a third of the time.

``@dataclass(frozen=True, slots=True, kw_only=True)`` writes half a dozen methods anew for each class and compiles them
one by one: half a millisecond, and a command makes dozens of classes before it has read a file. Only ``__init__``
differs from class to class, and waits for the first value; the others are written here, once. ``fields``, ``replace``,
defaults and pickling are those of any dataclass, and a test holds the two decorators together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """As ``@dataclass(frozen=True, slots=True, kw_only=True)``; a method that the class itself has is kept."""
    made = dataclass(init=False, repr=False, eq=False, slots=True, kw_only=True)(cls)
    parts = fields(made)  # type: ignore[arg-type]  # it is a dataclass now
    own = {"__init__": _init(made, parts), "__compared__": staticmethod(_compared(parts))}
    for name, method in (_METHODS | own).items():
        if name not in cls.__dict__:
            setattr(made, name, method)
    return made


def _init(owner: type, parts: tuple[Field[Any], ...]) -> Callable[..., None]:
    """``__init__``, compiled when the first value is made: of many classes a command makes none."""
    for part in parts:
        if not part.init:
            raise TypeError(f"{owner.__qualname__}.{part.name}: a value is made of what it is given")

    def first(self: Any, *arguments: Any, **given: Any) -> None:
        owner.__init__ = compiled = _compiled(owner, parts)  # type: ignore[misc]
        compiled(self, *arguments, **given)

    return first


def _compiled(owner: type, parts: tuple[Field[Any], ...]) -> Callable[..., None]:
    """``__init__(self, *, name, other=default)``."""
    known: dict[str, Any] = {"_set": object.__setattr__, "_missing": MISSING}
    parameters, lines = ["self", *(["*"] if parts else [])], []
    for part in parts:
        name, given = part.name, part.name
        if part.default_factory is not MISSING:
            known[f"_make_{name}"] = part.default_factory
            given = f"_make_{name}() if {name} is _missing else {name}"
        if part.default is not MISSING:
            known[f"_default_{name}"] = part.default
            parameters.append(f"{name}=_default_{name}")
        else:
            parameters.append(name if given == name else f"{name}=_missing")
        lines.append(f" _set(self, {name!r}, {given})")
    if hasattr(owner, "__post_init__"):
        lines.append(" self.__post_init__()")
    exec(  # noqa: S102  (as dataclasses do it: the names are those of a class body)
        f"def __init__({', '.join(parameters)}):\n" + "\n".join(lines or [" pass"]), known
    )
    init: Callable[..., None] = known["__init__"]
    init.__qualname__ = f"{owner.__qualname__}.__init__"
    return init


def _compared(parts: tuple[Field[Any], ...]) -> Callable[[Any], Any]:
    """What two values are compared by."""
    names = [part.name for part in parts if part.compare]
    return attrgetter(*names) if names else lambda _: ()


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{part.name}={getattr(self, part.name)!r}" for part in fields(self) if part.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: Any, other: Any) -> Any:
    return self.__compared__(self) == self.__compared__(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(self.__compared__(self))


def _setattr(self: Any, name: str, value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: Any, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, part.name) for part in fields(self)]


def _setstate(self: Any, state: list[Any]) -> None:
    for part, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, part.name, value)


_METHODS: dict[str, Callable[..., Any]] = {
    "__repr__": _repr,
    "__eq__": _eq,
    "__hash__": _hash,
    "__setattr__": _setattr,
    "__delattr__": _delattr,
    "__getstate__": _getstate,
    "__setstate__": _setstate,
}
