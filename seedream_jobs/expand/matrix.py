"""This module streams the combinations of a job: product, exclude, where, sample, include, in that order.

Called by ``expand.expansion`` and ``expand.request_builder``. Invariants: the order is the same on every machine, the
first axis varying slowest; a count is exact; held beside the axes are only a sample (while ``pairwise`` chooses, up to
``MAX_PAIRWISE`` combinations) and a byte for each combination that ``where`` tells apart.

A combination is a *choice*: for each axis the index of its value. So filters prune the tree of choices as early as
their axes are known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from heapq import nsmallest
from itertools import combinations, product
from math import prod
from typing import Any, Literal, NamedTuple

from seedream_jobs.expand.identity import canonical_json
from seedream_jobs.job.document import DocumentPath, spoken
from seedream_jobs.job.spec import JobSpec, Sample
from seedream_jobs.job.template import TemplateProblem

MAX_PAIRWISE = 250_000
"""The most combinations among which a cover of all pairs is looked for: it has to look at each of them."""

Choice = tuple[int, ...]


class Cell(NamedTuple):
    """One combination: a choice of axis values (None for one that an include stands for), and the includes in it."""

    choice: Choice | None
    includes: tuple[int, ...]


class Matrix:
    """The combinations of one job."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.sizes: tuple[int, ...] = tuple(len(axis.values) for axis in spec.axes)
        self.raw: int = prod(self.sizes)
        self._where_axes = frozenset(
            place[0] for name in (spec.where.names if spec.where else ()) if (place := spec.axis_of(name))
        )
        self._filtered = self._where_axes | {axis for pattern in spec.exclude for axis, _ in pattern.fits}
        self._where_sources = [
            (name, place[0], [value.bindings[place[1]] for value in spec.axes[place[0]].values])
            for name in sorted(spec.where.names if spec.where else ())
            if (place := spec.axis_of(name))
        ]
        self._judged = bytearray()
        self._sampled: list[Choice] | None = None
        self._surviving: int | None = None

    # -- values --------------------------------------------------------------------------------------------------------

    def given(self, cell: Cell) -> dict[str, Any]:
        """The values that a cell's axes and includes bind; only these, and no variable, set a request field."""
        return self._named(cell, "bindings")

    def bindings(self, cell: Cell) -> dict[str, Any]:
        """What templates see for a cell: the variables, and what the cell binds."""
        return {**self.spec.vars, **self.given(cell)}

    def labels(self, cell: Cell) -> dict[str, Any]:
        """What a cell's values are called, by the name of the axis; a choice may stop after its first axes."""
        return self._named(cell, "labels")

    def _named(self, cell: Cell, field: Literal["bindings", "labels"]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for axis, index in zip(self.spec.axes, cell.choice or (), strict=False):
            found.update(zip(axis.names, getattr(axis.values[index], field), strict=True))
        for number in cell.includes:
            item = self.spec.include[number]
            values = getattr(item, field)
            # An include that decorates a choice may not change it: it would be another combination.
            found.update(values if cell.choice is None else {name: values[name] for name in item.adds})
        return found

    def path_of(self, cell: Cell, name: str) -> DocumentPath | None:
        """Where a cell's value of a name is written; None where neither its includes nor its axes give it."""
        for number in reversed(cell.includes):  # the last one holds
            if name in self.spec.include[number].bindings:
                return (*self.spec.include[number].path, name)
        place = self.spec.axis_of(name)
        if place is None or cell.choice is None:
            return None
        return self.spec.axes[place[0]].values[cell.choice[place[0]]].paths[place[1]]

    # -- the stream ----------------------------------------------------------------------------------------------------

    def cells(self) -> Iterator[Cell]:
        """Every cell, in order.

        :raises TemplateProblem: where ``where`` compares unlike things
        """
        used: set[int] = set()
        decorated = any(item.fits is not None for item in self.spec.include)
        for choice in self.chosen():
            includes = self.includes_of(choice) if decorated else ()
            used.update(includes)
            yield Cell(choice, includes)
        for number in range(len(self.spec.include)):
            if number not in used:
                yield Cell(None, (number,))

    def cells_over(self, axes: Iterable[int]) -> Iterator[Cell]:
        """Each combination of these axes' values in at least one cell; filters decide which other axes are walked."""
        if self.spec.include or self.spec.sample is not None:
            return self.cells()
        return (Cell(choice, ()) for choice in self.survivors(axes))

    def includes_of(self, choice: Choice) -> tuple[int, ...]:
        """The includes that decorate a choice."""
        return tuple(
            number
            for number, item in enumerate(self.spec.include)
            if item.fits is not None and all(choice[axis] in fit for axis, fit in item.fits)
        )

    def chosen(self) -> Iterator[Choice]:
        """The choices that exclude and where leave and the sample takes."""
        sample = self.spec.sample
        if not self.spec.axes and self.spec.include:
            return iter(())  # as in GitHub Actions: without axes each include stands for itself
        if sample is None:
            return self.survivors()
        if self._sampled is None:
            self._sampled = _pairwise(self, sample) if sample.strategy == "pairwise" else _random(self, sample)
        return iter(self._sampled)

    def survivors(self, axes: Iterable[int] | None = None) -> Iterator[Choice]:
        """The choices that pass exclude and where.

        :param axes: only these axes and the filtered ones vary; the others stay at 0
        """
        varied = self._filtered | set(range(len(self.sizes)) if axes is None else axes)
        ranges = [range(size) if index in varied else range(1) for index, size in enumerate(self.sizes)]
        if self.spec.where is not None and not self._where_axes and not self._passes(()):
            return iter(())  # it reads no axis, so it speaks about all combinations
        if not self._filtered:
            return product(*ranges)
        # Only the axes up to the last filtered one are walked as a tree; the rest is a product, which runs in C.
        depth = max(self._filtered) + 1
        inner = ranges[depth:]
        if not inner:
            return self._prune(ranges, depth)
        return (head + tail for head in self._prune(ranges, depth) for tail in product(*inner))

    def _prune(self, ranges: Sequence[range], depth: int) -> Iterator[Choice]:
        """The first ``depth`` axes of each surviving choice, found by walking the tree of choices."""
        excluded = [dict(pattern.fits) for pattern in self.spec.exclude]
        last = [max(pattern, default=-1) for pattern in excluded]
        # For each axis the excludes that say nothing of it, and by value those that fit it: there may be thousands.
        silent = [{number for number, one in enumerate(excluded) if level not in one} for level in range(depth)]
        fitting: list[dict[int, set[int]]] = [{} for _ in range(depth)]
        for number, one in enumerate(excluded):
            for level, indexes in one.items():
                for index in indexes:
                    fitting[level].setdefault(index, set()).add(number)
        where = self.spec.where
        where_at = max(self._where_axes, default=-1)

        def walk(level: int, choice: Choice, alive: set[int]) -> Iterator[Choice]:
            quiet, by_value = alive & silent[level], fitting[level]
            for index in ranges[level]:
                # An exclude stays alive while all its axes so far fit; one whose last axis fits drops the whole branch.
                hit = alive & by_value[index] if index in by_value else None
                if hit and any(last[number] <= level for number in hit):
                    continue
                grown = (*choice, index)
                if level == where_at and where is not None and not self._passes(grown):
                    continue
                if level + 1 == depth:
                    yield grown
                else:
                    yield from walk(level + 1, grown, quiet | hit if hit else quiet)

        return walk(0, (), {number for number, one in enumerate(excluded) if one})

    def _passes(self, choice: Choice) -> bool:
        """Whether ``where`` holds; each combination of the axes it reads is judged once."""
        if not self._judged:  # a byte for each combination of the axes it reads: 0 unknown, 1 false, 2 true
            self._judged = bytearray(prod(self.sizes[axis] for axis in self._where_axes))
        number = 0
        for axis in self._where_axes:
            number = number * self.sizes[axis] + choice[axis]
        if not self._judged[number]:
            self._judged[number] = 2 if self._judge(choice) else 1
        return self._judged[number] == 2

    def _judge(self, choice: Choice) -> bool:
        where = self.spec.where
        assert where is not None
        context = {name: value for name, value in self.spec.vars.items() if name in where.names}
        context.update((name, values[choice[axis]]) for name, axis, values in self._where_sources)
        try:
            return where(context)
        except TemplateProblem as problem:
            labels = self.labels(Cell(choice, ()))
            names = [f"{name}={spoken(label)}" for name, label in labels.items() if name in where.names]
            raise TemplateProblem(
                f"{problem.message} (at {', '.join(names)})", line=problem.line, word=problem.word, hint=problem.hint
            ) from None

    # -- counting ------------------------------------------------------------------------------------------------------

    def surviving(self) -> int:
        """How many combinations exclude and where leave: exact, without visiting those that no filter tells apart."""
        if self._surviving is None:
            alike = prod(size for index, size in enumerate(self.sizes) if index not in self._filtered)
            self._surviving = alike * sum(1 for _ in self.survivors(()))
        return self._surviving

    @cached_property
    def living(self) -> list[Collection[int]]:
        """For each axis the indexes of the values that some combination has."""
        if self.spec.sample is not None:
            return [set(column) for column in zip(*self.chosen(), strict=True)] or [() for _ in self.sizes]
        found: dict[int, set[int]] = {axis: set() for axis in self._filtered}
        for choice in self.survivors(()):
            for axis, indexes in found.items():
                indexes.add(choice[axis])
        if found and not all(found.values()):
            return [() for _ in self.sizes]
        return [found.get(axis, range(size)) for axis, size in enumerate(self.sizes)]


def _ranker(matrix: Matrix, seed: int) -> Callable[[Choice], bytes]:
    """A combination's rank: sha256 over the seed and its values.

    A combination keeps its rank when axes are reordered or values are added elsewhere, so a sample stays what it was,
    and nothing that was paid for falls out of it.
    """
    values = [
        [canonical_json(dict(zip(axis.names, value.bindings, strict=True))) for value in axis.values]
        for axis in matrix.spec.axes
    ]

    def rank(choice: Choice) -> bytes:
        parts = sorted(column[index] for column, index in zip(values, choice, strict=True))
        return sha256(b"\n".join((str(seed).encode(), *parts))).digest()

    return rank


def _random(matrix: Matrix, sample: Sample) -> list[Choice]:
    rank = _ranker(matrix, sample.seed)
    assert sample.size is not None  # by the schema
    return sorted(nsmallest(sample.size, matrix.survivors(), key=rank))  # a heap of ``size``, not a list of all


def _pairwise(matrix: Matrix, sample: Sample) -> list[Choice]:
    """A greedy cover: every pair of values that some combination has is in one that is taken.

    Rounds take the combinations that cover at least so many new pairs, from the most that are possible down to one;
    within a round the rank decides, so that the seed does. What a combination covers only shrinks, so it waits for the
    round of what it covered when it was last looked at.
    """
    rank = _ranker(matrix, sample.seed)
    ordered = sorted(matrix.survivors(), key=rank)
    columns = list(combinations(range(len(matrix.sizes)), 2))
    if not columns:
        return sorted(ordered)
    waiting: list[list[int]] = [[] for _ in range(len(columns))] + [list(range(len(ordered)))]
    covered: set[tuple[int, int, int, int]] = set()
    taken: list[Choice] = []
    for wanted in range(len(columns), 0, -1):
        for number in sorted(waiting[wanted]):
            choice = ordered[number]
            fresh = [pair for a, b in columns if (pair := (a, choice[a], b, choice[b])) not in covered]
            if len(fresh) >= wanted:
                covered.update(fresh)
                taken.append(choice)
            else:
                waiting[len(fresh)].append(number)
        waiting[wanted].clear()
    return sorted(taken)
