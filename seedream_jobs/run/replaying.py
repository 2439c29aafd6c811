"""Which models' idempotency keys the service honours: asked once for each model, and only when something is in doubt.

Without a promise in the model's schema, or a reply that was marked as replayed, nothing in doubt is ever sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from seedream_jobs.api.account import replays
from seedream_jobs.errors import SeedreamError
from seedream_jobs.run.resend import Replay


class Schemas(Protocol):
    """Whoever can ask the service for its own description of a model.

    :raises SeedreamError: refused, unreachable or unreadable
    """

    async def model_schema(self, model: str) -> Mapping[str, Any]: ...


class Capabilities:
    """What is known of replay, by model.

    :param schemas: None where nobody is to be asked
    """

    def __init__(self, schemas: Schemas | None = None) -> None:
        self._schemas = schemas
        self._known: dict[str, Replay] = {}
        self._asked: set[str] = set()

    def of(self, model: str) -> Replay:
        """What is known of a model; replies that come later are noted in it."""
        return self._known.setdefault(model, Replay())

    async def learn(self, model: str) -> bool:
        """Whether replay is proven for a model; asks the service if nobody has. A failing answer proves nothing."""
        known = self.of(model)
        if not known.proven and self._schemas is not None and model not in self._asked:
            self._asked.add(model)
            try:
                known.proven = replays(await self._schemas.model_schema(model))
            except SeedreamError:
                return False
        return known.proven
