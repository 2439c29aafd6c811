"""This package carries a plan out: pacing, submitting, polling, fetching."""
