"""Doing it: pacing, submitting, polling, fetching."""
