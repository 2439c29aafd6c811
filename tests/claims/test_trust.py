"""A store is used only after a race, and a store that lies does not pass it."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.claims import create_only, trust
from seedream_jobs.claims.git_lock import take_git_lock
from seedream_jobs.claims.store import open_store
from seedream_jobs.cli.main import run_command
from seedream_jobs.errors import UnfinishedError, UsageError
from seedream_jobs.object_store import Objects
from tests import stores

obstore = pytest.importorskip("obstore")

put, sleep = obstore.put, time.sleep


def ignores(store: Any, path: str, body: bytes, mode: str = "overwrite") -> Any:
    """Takes no notice of the precondition."""
    return put(store, path, body)


def serialises(store: Any, path: str, body: bytes, mode: str = "overwrite") -> Any:
    """Looks first and writes then: the precondition holds for those who come one after the other."""
    try:
        obstore.head(store, path)
    except FileNotFoundError:
        sleep(0.002)
        return put(store, path, body)
    raise obstore.exceptions.AlreadyExistsError("it exists")


def refuses(store: Any, path: str, body: bytes, mode: str = "overwrite") -> Any:
    """Answers 409 where nothing is."""
    raise obstore.exceptions.AlreadyExistsError("409 Conflict")


LIES = [
    (ignores, "it ignores the precondition: who comes second gets the claim, too"),
    (serialises, "it honours the precondition only one by one"),
    (refuses, "exists, and nothing is there"),
]


@pytest.mark.parametrize("tries", [5, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("lie", "told"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_a_store_that_lies_is_refused(
    lie: Callable[..., Any], told: str, tries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every try, and it is said which lie it is."""
    (tmp_path / "store").mkdir()
    url = f"file://{tmp_path}/store"
    open_store(url, "c").prepare()
    monkeypatch.setattr(create_only.obstore, "put", lie)
    monkeypatch.setattr(create_only.time, "sleep", lambda seconds: None)
    for _ in range(tries):
        with pytest.raises(UsageError, match=told):
            trust.race(lambda campaign: open_store(url, campaign), url, now=1)


def test_a_store_that_keeps_its_promise_passes(url: str) -> None:
    open_store(url, "c").prepare()
    trust.race(lambda campaign: open_store(url, campaign), url, now=1)


@pytest.mark.parametrize("git", [True, False])
def test_the_verdict_is_kept_with_the_endpoint(git: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the clone, where git does not see it; at another endpoint it says nothing."""
    url, root = f"file://{tmp_path}/store", tmp_path / "campaign"
    root.mkdir()
    (tmp_path / "store").mkdir()
    if git:
        subprocess.run(["git", "init", "-q", str(root)], check=True)
    open_store(url, "c").prepare()
    with pytest.raises(UsageError, match="was not checked from here") as refused:
        trust.open_trusted(url, "c", root)
    assert refused.value.hint == "seedream-jobs doctor --shared"
    trust.check_store(url, root, now=1_780_000_000)
    kept = json.loads((root / (".git/seedream-jobs" if git else ".seedream") / "shared.json").read_text())
    assert kept == {url: {"at": "2026-05-28T20:26:40Z", "creators": 8, "endpoint": "", "rounds": 20}}
    assert trust.open_trusted(url, "c", root).since(0) == []
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match="was checked at another endpoint"):
        trust.open_trusted(url, "c", root)


@pytest.mark.parametrize(
    ("name", "value"),
    [("AWS_ENDPOINT_URL", value) for value in ("", "localhost:9000", '"http://db:9"', "http:/h", "http://h:99999", "h")]
    + [("AWS_ENDPOINT_URL", value) for value in ("http://", "http://a<b", "ftp://h", "http://[::1", "http://h ")]
    + [("AWS_SECRET_ACCESS_KEY", "of-nobody\r"), ("AWS_REGION", "eu\n"), ("AWS_ACCESS_KEY_ID", "a b")],
)
def test_words_at_which_the_client_panics_are_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an .env file with CR LF or quotes, say. The value is not told: it may be a secret."""
    for one, good in stores.s3_environment("http://[::1]:9000/path").items():
        monkeypatch.setenv(one, good)
    open_store("s3://claims/x", "c")
    monkeypatch.setenv(name, value)
    for opened in (lambda: open_store("s3://claims/x", "c"), lambda: Objects("s3://claims/x", seconds=1)):
        with pytest.raises(UsageError, match=f"{name} (is no address|is empty|has blanks)") as refused:
            opened()
        assert "of-nobody" not in str(refused.value)


def test_no_password_of_an_endpoint_is_kept_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what else says which store is meant is kept with it: with another port, or account, it is another store."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    secret = "http://somebody:of-nobody@127.0.0.1:9"
    for name in trust._ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", secret)
    monkeypatch.setenv("PGPORT", "5433")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "acme")
    kept = "AWS_ENDPOINT_URL=http://127.0.0.1:9 AZURE_STORAGE_ACCOUNT_NAME=acme PGPORT=5433"
    assert trust.endpoint() == kept
    for name, value in {**stores.S3_KEYS, "AWS_ALLOW_HTTP": "true"}.items():
        monkeypatch.setenv(name, value)
    for ask in (
        open_store("s3://claims/x", "c").check,
        lambda: Objects("s3://claims/x", seconds=1).get("x", most=1),
        lambda: take_git_lock(tmp_path, f"{secret}/x.git", command="run", now=1),
    ):
        with pytest.raises(UnfinishedError) as refused:
            ask()
        assert "127.0.0.1:9/" in refused.value.message
        assert "of-nobody" not in f"{refused.value} {refused.value.hint}"


def test_a_store_that_lost_what_it_held_is_not_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that is not mounted leaves an empty folder: whoever prepared that would pay for all claims once more."""
    store, url = tmp_path / "store", f"file://{tmp_path}/store"
    store.mkdir()
    (tmp_path / "policy.yaml").write_text(f'version: 1\nshared: {{claims: "{url}"}}\n')
    monkeypatch.chdir(tmp_path)
    assert run_command(["shared", "init"]) == 0
    assert run_command(["shared", "init"]) == 0
    shutil.rmtree(store)
    store.mkdir()
    with pytest.raises(UnfinishedError, match="holds nothing: it was prepared when it was checked from here, 20"):
        trust.open_trusted(url, "c", tmp_path)
    assert run_command(["shared", "init"]) == 8
    assert "see that it is mounted" in capsys.readouterr().err
    assert list(store.iterdir()) == []


def test_clones_without_a_manifest_meet_under_one_name() -> None:
    """And two services, or two campaigns in one store, do not."""
    one = trust.campaign_name(None, "https://api.example")
    assert one == trust.campaign_name(None, "https://api.example")
    assert (
        len({one, trust.campaign_name(None, "https://other.example"), trust.campaign_name("a", "https://api.example")})
        == 3
    )


def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name="psycopg")

    monkeypatch.setattr("seedream_jobs.claims.store.importlib.import_module", absent)
    with pytest.raises(UsageError, match="needs psycopg, which is not installed") as refused:
        open_store("postgresql://seedream@db/campaigns", secrets.token_hex(4))
    assert refused.value.hint == 'pip install "seedream-jobs[postgres]"'
