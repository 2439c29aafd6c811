"""This module keeps claims in a table of PostgreSQL, and what is reserved of a budget under a check constraint.

Loaded by ``claims.store.open_store``. Invariant: what this session is told to be committed is on the server's disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg
from psycopg import errors, sql

from seedream_jobs.claims.store import (
    FORMAT,
    Account,
    Accounts,
    Claim,
    claim_text,
    not_prepared,
    other_format,
    read_claim,
    unreachable,
)
from seedream_jobs.errors import CredentialsError, UnfinishedError
from seedream_jobs.ledger.codec import canonical

T = TypeVar("T")

_REFUSALS = (errors.InvalidPassword, errors.InvalidAuthorizationSpecification, errors.InsufficientPrivilege)
_SCHEMA = f"""
select pg_advisory_xact_lock(hashtext('seedream_jobs'));
create table if not exists seedream_jobs_format (format integer primary key);
insert into seedream_jobs_format values ({FORMAT}) on conflict do nothing;
create table if not exists seedream_jobs_claims (
    campaign text, key text, generation integer, attempt text, nonce text not null, claim text not null,
    at bigint not null, settled text, primary key (campaign, key, generation, attempt));
create table if not exists seedream_jobs_budgets (
    campaign text, account text, most numeric not null, reserved numeric not null, line text not null,
    primary key (campaign, account), check (reserved >= 0 and reserved <= most));
"""
# Claims go in binary form (%b): in an array as text each of their quotes would be escaped, by a slow pattern.
_CLAIM = """
insert into seedream_jobs_claims (campaign, key, generation, attempt, nonce, claim, at)
select %s, * from unnest(%s::text[], %s::int[], %s::text[], %s::text[], %b::text[], %s::bigint[])
on conflict do nothing returning key, generation, attempt
"""
_STANDING = """
select claim, settled from seedream_jobs_claims
where campaign = %s and (key, generation, attempt) in (select * from unnest(%s::text[], %s::int[], %s::text[]))
"""
_SETTLE = """
update seedream_jobs_claims as known set settled = new.settled
from unnest(%s::text[], %s::int[], %s::text[], %b::text[], %s::bool[]) as new(key, generation, attempt, settled, paid)
where campaign = %s and (known.key, known.generation, known.attempt) = (new.key, new.generation, new.attempt)
and (known.settled is null or new.paid)
"""
_SINCE = """
select distinct on (key, generation) claim, settled from seedream_jobs_claims
where campaign = %s and at >= %s and attempt ~ '^[0-9]+$' order by key, generation, attempt::integer desc
"""
_ACCOUNT = "select line from seedream_jobs_budgets where (campaign, account) = (%s, %s)"
# A limit below what is reserved already bears nothing more; it must not break the constraint.
_CHANGE = """
insert into seedream_jobs_budgets as known (campaign, account, reserved, most, line)
values (%(campaign)s, %(account)s, %(total)s, greatest(%(total)s, %(limit)s), %(line)s)
on conflict (campaign, account) do update set reserved = excluded.reserved, most = excluded.most, line = excluded.line
where known.line = %(before)s
"""


class PostgresClaims(Accounts):
    """A ``ClaimStore`` in a database; password and encryption are the environment's (``PGPASSWORD``, ``PGSSLMODE``)."""

    def __init__(self, url: str, campaign: str) -> None:
        self.url: str = url
        self._campaign = campaign
        self._connection: psycopg.Connection | None = None

    def __del__(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def claim(self, wanted: Sequence[Claim]) -> list[Claim]:
        if not wanted:
            return []
        # In one order in every session, so that two never wait for each other.
        rows = sorted((one.key, one.generation, one.attempt, one.nonce, claim_text(one), one.at) for one in wanted)
        columns = [list(column) for column in zip(*rows, strict=True)]

        def insert(connection: psycopg.Connection) -> dict[str, Claim]:
            made = connection.execute(_CLAIM, (self._campaign, *columns)).fetchall()
            all_made = len(made) == len(rows)
            return {} if all_made else self._claims(connection, _STANDING, (self._campaign, *columns[:3]))

        # After a lost reply the same rows conflict with themselves; their nonces tell.
        standing = self._do(insert)
        return [standing[one.name] for one in wanted] if standing else list(wanted)

    def settle(self, settled: Sequence[Claim]) -> None:
        rows = sorted((one.key, one.generation, one.attempt, claim_text(one), one.verdict == "paid") for one in settled)
        columns = [list(column) for column in zip(*rows, strict=True)]
        if rows:
            self._do(lambda connection: connection.execute(_SETTLE, (*columns, self._campaign)))

    def since(self, at: int) -> list[Claim]:
        return list(self._do(lambda one: self._claims(one, _SINCE, (self._campaign, at))).values())

    def prepare(self) -> None:
        self._do(lambda connection: connection.execute(sql.SQL(_SCHEMA)))  # several statements are one transaction
        self.check()

    def check(self) -> None:
        try:
            found = self._do(lambda connection: connection.execute("table seedream_jobs_format").fetchall())
        except UnfinishedError as error:
            raise (not_prepared(self.url) if isinstance(error.__cause__, errors.UndefinedTable) else error) from None
        if found != [(FORMAT,)]:
            raise other_format(self.url, ", ".join(str(row[0]) for row in found))

    def _change(self, account: str, change: Callable[[Account | None], Account | None]) -> None:
        values: dict[str, object] = {"campaign": self._campaign, "account": account}

        def update(connection: psycopg.Connection) -> bool:
            found = connection.execute(_ACCOUNT, (self._campaign, account)).fetchone()
            new = change(None if found is None else Account.read(found[0]))
            if new is None:
                return True
            told = {"total": new.total, "limit": new.limit, "line": canonical(new.line()).decode()}
            changed = connection.execute(_CHANGE, {**values, **told, "before": None if found is None else found[0]})
            return changed.rowcount == 1

        while not self._do(update):
            pass  # another runner was first

    def _claims(self, connection: psycopg.Connection, query: str, values: Sequence[object]) -> dict[str, Claim]:
        found = (read_claim((settled or claim).encode()) for claim, settled in connection.execute(query, values))
        return {claim.name: claim for claim in found}

    def _do(self, work: Callable[[psycopg.Connection], T], tries: int = 4) -> T:
        """Do something in the database; once more where the connection broke, which says nothing of what was done."""
        failure: Exception | None = None
        for _ in range(tries):
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = psycopg.connect(self.url, autocommit=True, connect_timeout=10)
                    self._connection.execute("set synchronous_commit = on; set statement_timeout = '15s'")
                return work(self._connection)
            except _REFUSALS as error:
                said = str(error).strip().partition("\n")[0]
                hint = "its password is read from the environment: PGPASSWORD, PGPASSFILE"
                raise CredentialsError(f"{self.url} refuses: {said}", hint=hint) from None
            except psycopg.Error as error:
                failure = error
                if self._connection is not None:
                    self._connection.close()
        raise unreachable(self.url, failure) from failure
