"""What CI is told that the stores of a policy need."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from seedream_jobs.claims.trust import check_store
from seedream_jobs.resources import resource
from seedream_jobs.sharing import store_requirements

BASE = resource("requirements", "base.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("shared", "extras", "checked"),
    [
        ("", [], False),
        ('shared: {claims: "s3://b/claims"}', ["cloud"], True),
        ('shared: {images: "gs://b/images"}', ["cloud"], False),
        ('shared: {claims: "postgresql://h/d", images: "file:///images"}', ["cloud", "postgres"], True),
        ("shared: {claims: nonsense}", [], False),
    ],
)
def test_each_store_needs_its_client(
    shared: str, extras: list[str], checked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policy.yaml").write_text(f"version: 1\n{shared}\n", encoding="utf-8")
    assert list(store_requirements(tmp_path)) == ["check"] * checked, "here the clients are installed"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    wanted = [f"install {resource('requirements', f'{extra}.txt')}" for extra in extras]
    assert list(store_requirements(tmp_path)) == wanted + ["check"] * checked


def test_a_store_that_has_raced_needs_nothing(tmp_path: Path) -> None:
    pytest.importorskip("obstore")
    from seedream_jobs.claims.store import open_store

    (tmp_path / "store").mkdir()
    url = f"file://{tmp_path}/store"
    (tmp_path / "policy.yaml").write_text(f'version: 1\nshared: {{claims: "{url}"}}\n', encoding="utf-8")
    open_store(url, "c").prepare()
    check_store(url, tmp_path, now=1)
    assert list(store_requirements(tmp_path)) == []


@pytest.mark.parametrize(("extra", "client"), [("cloud", "obstore"), ("postgres", "psycopg-binary")])
def test_a_clients_lock_is_the_packages_and_the_client(extra: str, client: str) -> None:
    """The same versions, each by its hashes."""
    lock = resource("requirements", f"{extra}.txt").read_text(encoding="utf-8")
    versions = {
        name: set(re.findall(r"^([a-z0-9-]+==[^ ;\\]+)", text, re.M)) for name, text in (("base", BASE), ("own", lock))
    }
    assert versions["base"] < versions["own"]
    assert any(one.startswith(f"{client}==") for one in versions["own"] - versions["base"])
    assert len(re.findall(r"^[a-z0-9-]+==.*\\$", lock, re.M)) == len(re.findall(r"^[a-z0-9-]+==", lock, re.M))
