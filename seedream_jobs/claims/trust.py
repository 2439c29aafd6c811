"""This module tells whether a store keeps its one promise: of many who create one claim at once, one gets it.

Called by ``doctor --shared`` and ``shared init``, which let it race, and by whatever opens a store afterwards. The
verdict is kept in this clone, with the endpoint and the day: invariant: no run claims in a store without one.

What a store says of itself is not asked. Some ignore the precondition, some look first and write then, so that it holds
only for those who come one after the other, and some answer "it exists" where nothing does.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from seedream_jobs.atomic_file import write_whole
from seedream_jobs.claims.store import Claim, ClaimStore, holder, not_prepared, open_store, there
from seedream_jobs.errors import UnfinishedError, UsageError
from seedream_jobs.foreign_text import without_credentials
from seedream_jobs.inside import STATE_FOLDER
from seedream_jobs.job.files import git_common
from seedream_jobs.ledger.codec import iso
from seedream_jobs.ledger.paths import SHARED, keep_private

CREATORS = 8
ROUNDS = 20
_ENDPOINTS = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT",
    "GOOGLE_BASE_URL",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ENDPOINT",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "PGHOSTADDR",
    "PGPORT",
    "PGOPTIONS",
)
CHECK = "seedream-jobs doctor --shared"


def campaign_name(given: str | None, origin: str) -> str:
    """The campaign's name in a store, the same for all clones: what the policy says, and the service's address.

    A clone without a manifest has no other name: a manifest's id is made by each first run. Two services are two
    campaigns, as with records.
    """
    return f"{given or 'campaign'}-{hashlib.sha256(origin.encode()).hexdigest()[:8]}"


def open_trusted(url: str, campaign: str, root: Path) -> ClaimStore:
    """The store that a campaign shares, once it has passed the race from this clone.

    :param root: the campaign's root
    :raises UsageError: it has not
    :raises UnfinishedError: it can't be reached, or holds nothing any more
    """
    if not is_trusted(url, root):
        what = "was checked at another endpoint" if url in _verdicts(root) else "was not checked from here"
        raise UsageError(f"{url} {what}: a store that lets two runners win would pay twice", hint=CHECK)
    store = open_store(url, campaign)
    try:
        store.check()
    except UsageError as error:
        if error.message != not_prepared(url).message:
            raise
        # It was prepared when it raced. Whoever prepares it anew pays once more for what others have claimed.
        raise UnfinishedError(
            f"{url} holds nothing: it was prepared when it was checked from here, {_verdicts(root)[url].get('at')}",
            hint=f"see that {there(url)}. If it is lost: push all records, then name another place",
        ) from None
    return store


def is_trusted(url: str, root: Path) -> bool:
    """Whether a store has passed the race from this clone, at the endpoint of the environment."""
    known = _verdicts(root).get(url)
    return known is not None and known.get("endpoint") == endpoint()


def endpoint() -> str:
    """Where the environment says that the stores are; empty for their vendors' own addresses."""
    named = " ".join(f"{name}={os.environ[name]}" for name in _ENDPOINTS if os.environ.get(name))
    return without_credentials(named)  # it is kept in a file


def check_store(url: str, root: Path, *, now: int) -> None:
    """Let a store race, and keep the verdict.

    :param now: Unix seconds
    :raises UsageError: it does not keep its promise
    """
    race(lambda campaign: open_store(url, campaign), url, now=now)
    found = {**_verdicts(root), url: {"endpoint": endpoint(), "at": iso(now), "creators": CREATORS, "rounds": ROUNDS}}
    file = _file(root)
    if file.parent.name == STATE_FOLDER:
        keep_private(file.parent)
    file.parent.mkdir(exist_ok=True)
    write_whole(file, [json.dumps(found, indent=1, sort_keys=True).encode() + b"\n"])


def _file(root: Path) -> Path:
    common = git_common(Path(os.path.realpath(root)))
    return (root / STATE_FOLDER if common is None else common / SHARED) / "shared.json"


def _verdicts(root: Path) -> dict[str, Any]:
    try:
        found = json.loads(_file(root).read_bytes())
    except (OSError, ValueError):
        return {}
    return {url: one for url, one in found.items() if isinstance(one, dict)} if isinstance(found, dict) else {}


def race(open_one: Callable[[str], ClaimStore], url: str, *, now: int) -> None:
    """Let ``CREATORS`` claim the same thing at once, ``ROUNDS`` times, each with a client of its own.

    :param open_one: opens the store for a campaign
    :param url: as messages name it
    :raises UsageError: two won, nobody did, or one who came later won
    """
    campaign = f"race-{secrets.token_hex(8)}"  # of its own: what is left of it is in nobody's way
    stores = [open_one(campaign) for _ in range(CREATORS)]
    stores[0].check()
    key, together = f"v1:{secrets.token_hex(8)}", threading.Barrier(CREATORS)

    def contender(attempt: int) -> Claim:
        nonce = secrets.token_hex(8)
        return Claim(
            key=key, generation=1, attempt=str(attempt), nonce=nonce, holder=holder(), run=nonce, manifest="race",
            address="race", at=now,
        )  # fmt: skip

    def create(creator: int, attempt: int) -> tuple[Claim, Claim]:
        mine = contender(attempt)
        together.wait()
        return mine, stores[creator].claim([mine])[0]

    first, second = contender(ROUNDS + 1), contender(ROUNDS + 1)
    stores[0].claim([first])
    if not stores[1].claim([second])[0].is_same(first):
        raise _refused(url, "it ignores the precondition: who comes second gets the claim, too")
    with ThreadPoolExecutor(CREATORS) as pool:
        for attempt in range(1, ROUNDS + 1):
            found = list(pool.map(create, range(CREATORS), [attempt] * CREATORS))
            winners = [mine for mine, standing in found if standing.is_same(mine)]
            if len(winners) > 1:
                said = (
                    f"it honours the precondition only one by one: {len(winners)} of {CREATORS} who asked at once won"
                )
                raise _refused(url, said)
            if not winners or not all(standing.is_same(winners[0]) for _, standing in found):
                raise _refused(url, "those who asked at once were told of different winners")


def _refused(url: str, why: str) -> UsageError:
    return UsageError(
        f"{url} can't hold claims: {why}",
        hint="S3, Google Cloud Storage, Azure and PostgreSQL can; of others the versions differ. Without a store: "
        "seedream-jobs run --git-lock REMOTE",
    )
