"""When to ask for a task: few GETs, and not long after it is done. Pure arithmetic; randomness is passed in."""

from __future__ import annotations

from random import Random

FIRST_ASK = (10.0, 20.0)  # seconds of age, where nothing is known of how long tasks take
ASK_AGAIN = (3.0, 5.0)  # seconds, at least
LONGEST_WAIT = 30.0  # seconds between two GETs of one task
WORTH_HALVING = 20.0  # seconds; where less is expected to be left, the next GET is at the expected end


class Cadence:
    """When to ask for a task, in seconds since it was accepted; learns how long tasks take.

    :param pace: all waits are this many times as long as the service advises; below 1 for an emulator on this machine
    """

    def __init__(self, random: Random, *, pace: float = 1.0) -> None:
        self._random = random
        self._pace = pace
        self._typical: float | None = None

    def first(self) -> float:
        """Age of a task, in seconds, at which it is asked for the first time."""
        default = self._random.uniform(*FIRST_ASK) * self._pace
        return default if self._typical is None else max(default, self._typical * self._random.uniform(1.0, 1.1))

    def pause(self) -> float:
        """Seconds between two GETs of one task, at least."""
        return self._random.uniform(*ASK_AGAIN) * self._pace

    def next(self, age: float, estimated: float | None) -> float:
        """Seconds until the next GET of a task that is still running at that age.

        :param estimated: seconds from creation to completion, as the service expects
        """
        if estimated is None:
            wait = age / 2.0
        elif age >= estimated:
            wait = age / 4.0
        else:
            rest = estimated - age
            wait = rest / 2.0 if rest > WORTH_HALVING else rest
        return max(self.pause(), min(wait, LONGEST_WAIT * self._pace))

    def took(self, seconds: float) -> None:
        """A task has taken this long, by the service's own stamps."""
        if seconds > 0:
            self._typical = seconds if self._typical is None else 0.8 * self._typical + 0.2 * seconds
