"""This package lets runners on several machines share what they claim: a store, and the race that it has to pass."""
