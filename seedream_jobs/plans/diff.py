"""This module compares a job's requests with its record: a stream of changes, each with what would happen and why.

Called by ``plans.plan``. Invariant: nothing is kept of a request that the stream has passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from seedream_jobs.errors import UsageError
from seedream_jobs.expand.expansion import Expansion, Place
from seedream_jobs.expand.matrix import Cell
from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.ledger.state import State, may_be_replayed, submits
from seedream_jobs.plans.options import PlanOptions


class Action(StrEnum):
    """What a plan says of a request. ``NEW``, ``RETRY``, ``AGAIN`` and ``REPLAY`` are submitted."""

    __hash__ = str.__hash__  # Enum's own is written in Python, and a plan looks hundreds of thousands up

    NEW = "new"
    RETRY = "retry"
    AGAIN = "again"
    REPLAY = "replay"  # in doubt, and to be sent again under its idempotency key
    LATER = "later"  # to be submitted, but past --limit
    DONE = "done"
    ELSEWHERE = "elsewhere"  # paid in another manifest of the campaign
    FETCH = "fetch"
    RESUME = "resume"
    IN_DOUBT = "in_doubt"
    FAILED = "failed"
    ABANDONED = "abandoned"
    ORPHANED = "orphaned"


SUBMITS = frozenset({Action.NEW, Action.RETRY, Action.AGAIN, Action.REPLAY})

_ACTIONS: Mapping[State, Action] = {
    State.NEW: Action.NEW,
    State.INTENT: Action.RESUME,
    State.IN_DOUBT: Action.IN_DOUBT,
    State.ACCEPTED: Action.RESUME,
    State.COMPLETED: Action.FETCH,
    State.STORED: Action.DONE,
    State.REJECTED: Action.FAILED,
    State.FAILED: Action.FAILED,
    State.EXPIRED: Action.FAILED,
    State.ABANDONED: Action.ABANDONED,
}

_UNDER_WAY = frozenset({State.INTENT, State.IN_DOUBT, State.ACCEPTED, State.COMPLETED})


class Change(NamedTuple):
    """One request and what becomes of it.

    :param place: None for an orphan
    :param known: whether the manifest has an entry for it
    :param generation: the attempt that would be submitted, or the last one that was
    :param note: such as the job that has paid for it already
    """

    action: Action
    key: str
    place: Place | None
    known: bool
    generation: int
    max_images: int
    note: str = ""


def under_way(known: Entries) -> frozenset[str]:
    """The keys whose last submission has no end yet."""
    return frozenset(known.keys_in(*_UNDER_WAY))


def _replayable(known: Entries, now: int) -> frozenset[str]:
    """The keys that are in doubt and may be sent again under their idempotency key."""
    doubts = known.keys_in(State.IN_DOUBT)
    return frozenset(key for key in doubts if may_be_replayed(known[key], now))


class Changes:
    """What becomes of each request of a job, by what its record says while the stream passes; iterable again.

    :param elsewhere: tells the other job of the campaign in whose record a key is paid, or by which it is claimed
    :param select: keeps the cells it is true for; None keeps all
    :param limit: at most so many are submitted now
    :param claimed: the keys on record that another runner has claimed, and of which nobody knows what became
    :param rejected: the keys on record whose images people have rejected, where those are to be submitted again
    """

    def __init__(
        self,
        *,
        expansion: Expansion,
        entries: Entries,
        elsewhere: Callable[[str], str | None],
        options: PlanOptions,
        select: Callable[[Cell], bool] | None = None,
        limit: int | None = None,
        claimed: frozenset[str] = frozenset(),
        rejected: frozenset[str] = frozenset(),
    ) -> None:
        self.expansion: Expansion = expansion
        self.entries: Entries = entries
        self._elsewhere, self._select = elsewhere, select
        self._limit, self._again, self._retry_failed = limit, frozenset(options.again), options.retry_failed
        self._rejected, self._claimed = rejected, claimed
        # If a submission that is under way now fails before the stream comes to it, that is for the next plan: nobody
        # has agreed to a retry of it.
        self._under_way = under_way(entries) if options.retry_failed else frozenset()
        self._replay = frozenset() if options.replay is None else _replayable(entries, options.replay)
        self._usual: dict[tuple[State, int], tuple[Action, int]] = {}  # many requests have the same state

    def __iter__(self) -> Iterator[Change]:
        """Every request, then the orphans of the manifest; they are looked for only where it has more entries.

        :raises FindingsError: as ``Expansion.places``
        :raises UsageError: for an ``--again`` whose last submission is not finished
        """
        entries = self.entries
        others = len(entries)
        for change in self._requests():
            others -= change.known
            yield change
        if others:
            former = entries.former
            orphans = set(entries).difference(
                key for place in self.expansion.places() for key in (place.key, former.get(place.key, place.key))
            )
            for key in sorted(orphans):
                _, generation = entries.summary(key) or (State.NEW, 1)
                yield Change(Action.ORPHANED, key, None, True, generation, 0)

    def submits(self) -> Iterator[Change]:
        """The requests that are to be submitted."""
        return (change for change in self._requests() if change.action in SUBMITS)

    def _requests(self) -> Iterator[Change]:
        left, select, entries = self._limit, self._select, self.entries
        # Unless some are to be submitted again, what is done stays so whatever else is known of it. Of a large record
        # nearly all is done: a quarter of the time that comparing it takes is spared.
        summary, finished = entries.summary, {} if self._again or self._rejected or self._claimed else self._usual
        for place in self.expansion.places():
            if select is not None and not select(place.cell):
                continue
            _, _, key, images = place
            brief = summary(key)
            if brief in finished and (usual := finished[brief])[0] is Action.DONE:
                yield Change(Action.DONE, key, place, True, usual[1], images)
                continue
            change = self._change(place, brief)
            # Only what would cost something is looked up under its former key, too.
            if change.action in SUBMITS and (former := entries.former.get(place.key)):
                change = self._known_before(change, former, entries.summary(former))
            if left is not None and change.action in SUBMITS:
                # Past the limit a doubt stays one: it is no request that a later run submits by itself.
                if left <= 0:
                    replay = change.action is Action.REPLAY
                    change = change._replace(action=Action.IN_DOUBT if replay else Action.LATER)
                left -= 1
            yield change

    def _change(self, place: Place, brief: tuple[State, int] | None) -> Change:
        """:raises UsageError: ``--again`` names it, and its last submission is not finished"""
        if self._is_wanted(place):
            return self._wanted(place, brief)
        _, _, key, images = place
        other = self._elsewhere(key)
        if brief is None:
            if other is not None:
                return Change(Action.ELSEWHERE, key, place, False, 1, images, other)
            return Change(Action.NEW, key, place, False, 1, images)
        usual = self._usual.get(brief)
        if usual is None:
            usual = self._usual[brief] = _usual(*brief, self._retry_failed)
        action, generation = usual
        if key in self._claimed:
            return Change(Action.IN_DOUBT, key, place, True, generation, images)
        if other is not None and action in SUBMITS:  # not paid here, and paid there
            return Change(Action.ELSEWHERE, key, place, True, brief[1], images, other)
        if action is Action.IN_DOUBT and other is None and key in self._replay:
            return Change(Action.REPLAY, key, place, True, generation, images)
        if action is Action.RETRY and key in self._under_way:
            return Change(Action.FAILED, key, place, True, brief[1], images)
        return Change(action, key, place, True, generation, images)

    def _known_before(self, change: Change, former: str, brief: tuple[State, int] | None) -> Change:
        """The change for a request to be submitted that has an entry under its former key.

        What was paid is not paid again. A retry is submitted under today's key, which belongs to today's prompt.

        :raises UsageError: as ``_change``
        """
        place = change.place
        if brief is None or place is None:
            return change
        if self._is_wanted(place):
            self._check_finished(place, brief[0])
            return change
        action, generation = _usual(*brief, self._retry_failed)
        if action in SUBMITS and not (action is Action.RETRY and former in self._under_way):
            return change
        action = Action.FAILED if action is Action.RETRY else action
        return Change(action, former, place, True, generation, place.max_images)

    def _is_wanted(self, place: Place) -> bool:
        """Whether a request is to be submitted once more: its address was named, or its images are rejected."""
        if self._rejected and self.entries.former.get(place.key, place.key) in self._rejected:
            return True
        return bool(self._again) and self.expansion.builder.address(place.cell, place.repeat) in self._again

    def _wanted(self, place: Place, brief: tuple[State, int] | None) -> Change:
        """The change for a request that is wanted once more: a further generation, wherever else it is paid."""
        if brief is None:
            return Change(Action.NEW, place.key, place, False, 1, place.max_images)
        state, generation = brief
        self._check_finished(place, state)
        if state is State.NEW:
            return Change(Action.NEW, place.key, place, True, generation, place.max_images)
        return Change(Action.AGAIN, place.key, place, True, generation + 1, place.max_images)

    def _check_finished(self, place: Place, state: State) -> None:
        if not submits(state, again=True):
            address = self.expansion.builder.address(place.cell, place.repeat)
            raise UsageError(
                f"--again {address}: its last submission is not finished",
                hint="seedream-jobs status shows it; an in-doubt one is settled by seedream-jobs resolve",
            )


def _usual(state: State, generation: int, retry_failed: bool) -> tuple[Action, int]:
    """What becomes of a known request by its state alone, and the generation that is meant."""
    if not submits(state, retry_failed=retry_failed):
        return _ACTIONS[state], generation
    return (Action.NEW, generation) if state is State.NEW else (Action.RETRY, generation + 1)
