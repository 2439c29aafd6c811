"""A disk that fails: from the Nth fsync on (SEEDED_FSYNC), every one of them is an I/O error."""

import errno
import itertools
import os

real, count, first = os.fsync, itertools.count(1), int(os.environ["SEEDED_FSYNC"])


def fsync(descriptor):
    if next(count) >= first:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    real(descriptor)


os.fsync = fsync
