"""Seeded fault: the store is not told that a claim must not be there yet."""

import obstore

put = obstore.put


def put_anyway(store, path, body, mode="overwrite"):
    return put(store, path, body)


obstore.put = put_anyway
