"""Seeded fault: a connection that breaks without a reply is taken for "not sent", and the POST is made again."""

from dataclasses import replace

from seedream_jobs.api import client, outcomes

judge = outcomes.judge


def judge_blindly(observation):
    outcome = judge(observation)
    if outcome.row != 6:
        return outcome
    return replace(outcome, verdict="not_sent", doubt=None)


client.judge = judge_blindly
