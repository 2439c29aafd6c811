"""Seeded fault: what a crash left open is taken as not sent, and submitted again."""

from dataclasses import replace

from seedream_jobs.ledger import transitions
from seedream_jobs.ledger.state import State


def forget(entry, doubt):
    if entry.state is not State.INTENT:
        return entry
    return replace(entry, state=State.NEW, idempotency_key=None, submitted_at=None)


transitions.settle_open_intent = forget
