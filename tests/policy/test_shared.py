"""What a policy may name as the store of claims."""

from __future__ import annotations

import datetime

import pytest

from seedream_jobs.errors import FindingsError
from seedream_jobs.plans.policy import read_policy
from seedream_jobs.report.findings import render_findings

DAY = datetime.date(2026, 11, 26)


@pytest.mark.parametrize(
    "url",
    [
        "s3://acme-campaigns/claims",
        "gs://acme",
        "az://acme/a/b",
        "file:///mnt/team/claims of spring",
        "postgresql://seedream@db.example.com:5432/campaigns",
        "postgresql://db/campaigns",
    ],
)
def test_a_store_is_named_by_its_url(url: str) -> None:
    policy = read_policy(
        f'version: 1\nshared: {{claims: "{url}", campaign: spring-2026}}\n'.encode(), "p.yaml", today=DAY
    )
    assert (policy.claims, policy.campaign) == (url, "spring-2026")
    assert not policy.check_shared
    none = read_policy(b"version: 1\n", "p.yaml", today=DAY)
    assert (none.claims, none.check_shared) == (None, False)


def test_a_policy_may_ask_for_what_is_claimed() -> None:
    text = b'version: 1\nshared: {claims: "s3://bucket", check: always}\n'
    assert read_policy(text, "p.yaml", today=DAY).check_shared


@pytest.mark.parametrize(
    "shared",
    [
        '{claims: "postgresql://seedream:secret@db/campaigns"}',
        '{claims: "postgresql://db/campaigns?password=secret"}',
        '{claims: "s3://key:secret@bucket/claims"}',
        '{claims: "http://example.com/claims"}',
        '{claims: "file://relative"}',
        "{}",
        '{claims: "s3://bucket", campaign: "a/b"}',
        '{claims: "s3://bucket", lease: 5}',
        '{claims: "s3://bucket", check: never}',
    ],
)
def test_what_is_no_store_is_a_finding(shared: str) -> None:
    """A password in the URL, too: it would be committed. It is not shown: findings stand in CI's logs."""
    text = f"version: 1\nshared: {shared}\n"
    with pytest.raises(FindingsError) as caught:
        read_policy(text.encode(), "p.yaml", today=DAY)
    if ":secret@" in shared:
        said = render_findings(caught.value.diagnostics, {"p.yaml": text}, color=False)
        assert "secret" not in said
        assert ":******@" in said
