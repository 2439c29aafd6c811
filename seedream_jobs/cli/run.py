"""``seedream-jobs run``: the command that spends money."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from seedream_jobs import pipeline
from seedream_jobs.cli.options import jobs_argument, rule_options, rules
from seedream_jobs.cli.service_options import pace_options, request_options, target, target_options
from seedream_jobs.cli.streams import goes_on_unheard, quiet, show, talk
from seedream_jobs.cli.terminal import Terminal
from seedream_jobs.diagnostics import plural
from seedream_jobs.errors import UsageError
from seedream_jobs.plans.cost import money
from seedream_jobs.plans.options import PlanOptions
from seedream_jobs.plans.plan import Plan
from seedream_jobs.report.text import plan_text
from seedream_jobs.run.options import RunOptions


@click.command()
@request_options
@rule_options
@target_options
@pace_options
@click.option("--rate", metavar="N/UNIT", help="At most so many POSTs, such as 60/m.  [default: no limit]")
@click.option("--yes", "-y", is_flag=True, help="Submit without asking, where the policy does not ask for --expect.")
@click.option("--detach", is_flag=True, help="End once the task ids are in the manifest; fetch goes on later.")
@click.option("--upload-references", is_flag=True, help="Upload local reference images instead of sending them inline.")
@click.option("--check-balance", is_flag=True, help="Compare the account's balance with the plan before starting.")
@click.option("--embed-metadata", is_flag=True, help="Put prompt and digital source type into the images (XMP).")
@click.option("--no-local", is_flag=True, help="Keep the images only in the store of the policy's shared: images.")
@click.option(
    "--retry-server-errors",
    is_flag=True,
    help="Send again after HTTP 500 or 502, which may have charged: it may pay twice.",
)
@click.option(
    "--git-lock",
    metavar="REMOTE",
    help="Hold a lock in this git remote while it runs: nobody else who asks for it pays meanwhile.",
)
@click.option("--no-gallery", is_flag=True, help="Do not build the gallery.")
@click.option("--expect", metavar="DIGEST", help="With a saved plan: the approval digest it must have.")
@goes_on_unheard
@jobs_argument()
def run(
    jobs: tuple[Path, ...],
    plan_options: PlanOptions,
    policy: Path | None,
    ignore: tuple[str, ...],
    emulator: bool,
    base_url: str | None,
    run_options: RunOptions,
    as_json: bool,
    yes: bool,
    detach: bool,
    upload_references: bool,
    check_balance: bool,
    embed_metadata: bool,
    no_local: bool,
    retry_server_errors: bool,
    git_lock: str | None,
    no_gallery: bool,
    expect: str | None,
) -> int:
    """Submit, poll, download and build the gallery.

    Shows the plan and asks first. What was submitted before is never submitted again by itself: the manifest beside
    the job file is the record. The page is there before the first request is sent, and fills while the images come.
    Needs APIMART_API_KEY, or --emulator.

    Instead of job files you can name a saved plan (plan -o): exactly that plan is carried out, once. Without a
    terminal it needs --yes, or a saved plan and --expect; a rehearsal needs neither.

    \b
    Examples:
      seedream-jobs run garden.yaml --emulator
      seedream-jobs run garden.yaml --budget 5.00
      seedream-jobs run plan.json --expect DIGEST
    """
    # With --detach there is no image yet that a gallery could show.
    report = Terminal(as_json=as_json, emulator=emulator, gallery=not no_gallery and not detach, detach=detach)
    return pipeline.run(
        jobs,
        plan_options=plan_options,
        options=replace(
            run_options,
            detach=detach,
            upload_references=upload_references,
            check_balance=check_balance,
            embed_metadata=embed_metadata,
            local=not no_local,
            retry_server_errors=retry_server_errors,
            git_lock=None if emulator else git_lock,
        ),
        rules=rules(policy, ignore),
        target=target(emulator=emulator, base_url=base_url),
        base_url=base_url,
        expect=expect,
        ask=(lambda plan: True) if yes else partial(confirm, approved=expect is not None),
        report=report,
    )


def confirm(plan: Plan, *, approved: bool) -> bool:
    """Whether the person at the terminal wants what a plan says.

    :param approved: the plan has the digest that somebody approved, which is enough where there is no terminal
    :raises UsageError: there is none
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        if approved:
            return True
        raise UsageError(
            "this would spend money, and there is no terminal to ask at",
            hint="have a saved plan approved (plan -o) and run it with --expect DIGEST; or run it with --yes, "
            "or rehearse it with --emulator",
        )
    if quiet():  # nobody agrees to what was not shown
        show(plan_text(plan), err=True)
    question = f"Submit {plural(plan.submit, 'request')} for at most {money(plan.cost)}?"
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        talk("\nNothing was submitted.")
        raise
    if not agreed:
        talk("Nothing was submitted.")
    return agreed
