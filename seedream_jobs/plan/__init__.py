"""Requests held against the ledger: what would be submitted, why, and for how much."""
