"""Fixtures: a store of each kind, real servers behind them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.claims.store import Claim, ClaimStore, open_store
from tests import stores


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    with stores.s3_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def database() -> Iterator[stores.Postgres]:
    with stores.postgres() as server:
        yield server


@pytest.fixture(params=["file", "s3", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store that nobody has used; the environment opens it."""
    match request.param:
        case "file":
            stores.need("obstore")
            (tmp_path / "store").mkdir()
            return f"file://{tmp_path}/store"
        case "s3":
            for name, value in stores.s3_environment(request.getfixturevalue("s3")).items():
                monkeypatch.setenv(name, value)
            return f"s3://claims/{secrets.token_hex(4)}"
        case _:
            return str(request.getfixturevalue("database").url)


@pytest.fixture
def opened(url: str) -> Callable[[], ClaimStore]:
    """Opens the store of one campaign, once more for each runner."""
    campaign = secrets.token_hex(4)
    open_store(url, campaign).prepare()
    return lambda: open_store(url, campaign)


@pytest.fixture
def make_claim() -> Callable[..., Claim]:
    def make(number: int, holder: str = "mara@a", attempt: str = "1", generation: int = 1, **more: Any) -> Claim:
        nonce, at = secrets.token_hex(8), int(time.time())
        return Claim(
            key=f"v1:{number:016x}", generation=generation, attempt=attempt, nonce=nonce, holder=holder, run="r1",
            manifest="m-1", address=f"heron#{number}", at=at, usd=Decimal("0.0228"), **more,
        )  # fmt: skip

    return make
