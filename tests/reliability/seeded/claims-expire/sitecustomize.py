"""Seeded fault: a claim that is two seconds old and not settled is anybody's again."""

import time

from seedream_jobs.claims.objects import ObjectClaims

claim = ObjectClaims.claim


def leased(self, wanted):
    found = claim(self, wanted)
    late = time.time() - 2
    return [mine if one.verdict is None and one.at < late else one for mine, one in zip(wanted, found, strict=True)]


ObjectClaims.claim = leased
