"""No fault, only haste: the client waits as long as the tests of the wire do (SEEDED_SHORT names one that is short)."""

import os

from seedream_jobs.api import client
from seedream_jobs.api.connection import Timeouts

begin = client.Client.__init__


def begin_impatiently(self, *arguments, **options):
    seconds = {"connect": 8.0, "write": 8.0, "read": 8.0, "total": 20.0}
    short = os.environ.get("SEEDED_SHORT")
    if short:
        seconds[short] = 0.4
    begin(self, *arguments, **{**options, "timeouts": Timeouts(**seconds)})


client.Client.__init__ = begin_impatiently
