"""PostgreSQL is killed while it takes claims: none that it has acknowledged is lost."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable

import pytest

from seedream_jobs.claims.store import Claim, open_store
from seedream_jobs.errors import UnfinishedError
from tests import stores


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_no_acknowledged_claim_is_lost(kills: int, make_claim: Callable[..., Claim]) -> None:
    chance = random.Random(1)
    with stores.postgres() as server:
        campaign = secrets.token_hex(4)
        open_store(server.url, campaign).prepare()
        acknowledged: list[Claim] = []
        ended = threading.Event()

        def work(first: int) -> None:
            store, number = open_store(server.url, campaign), first
            while not ended.is_set():
                group = [make_claim(number + more) for more in range(8)]
                number += 8
                try:
                    standing = store.claim(group)
                except UnfinishedError:
                    time.sleep(0.02)
                    continue
                acknowledged.extend(one for one, mine in zip(standing, group, strict=True) if one.is_same(mine))

        workers = [threading.Thread(target=work, args=(number * 1_000_000,)) for number in range(2)]
        for worker in workers:
            worker.start()
        for _ in range(kills):
            before = len(acknowledged)
            while len(acknowledged) < before + 50:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.05))
            server.kill()
            server.start()
        ended.set()
        for worker in workers:
            worker.join()
        found = {claim.name: claim.nonce for claim in open_store(server.url, campaign).since(0)}
        assert [one for one in acknowledged if found.get(one.name) != one.nonce] == []
        assert len(acknowledged) > 50 * kills
