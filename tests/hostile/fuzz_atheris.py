"""Coverage-guided fuzzing of each reader: ``python3 dev.py fuzz READER [-max_total_time=SECONDS] [-runs=N] [CORPUS]``.

No test: atheris (libFuzzer for Python) is no dependency of the suite, and ``dev.py fuzz`` installs it. The bounds are
those of ``test_fuzz.py``; what breaks one, or ends with an error of ours, is written to ``crash-…`` and shown.
Options are libFuzzer's, https://llvm.org/docs/LibFuzzer.html#options.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["seedream_jobs", "jinja2"]):
    from seedream_jobs.atomic_file import Snapshot
    from seedream_jobs.errors import SeedreamError
    from seedream_jobs.job import schema, yaml_reader
    from seedream_jobs.job.condition import compile_condition
    from seedream_jobs.job.template import TemplateProblem, compile_template
    from seedream_jobs.ledger.codec import Malformed, seal
    from seedream_jobs.ledger.journal import read_header, read_journal
    from seedream_jobs.ledger.manifest import alone, read_manifest
    from seedream_jobs.plans import saved
    from seedream_jobs.plans.policy import read_policy
from tests.hostile.test_fuzz import DATA, EXAMPLES, GOLDEN, POLICY, TODAY, held, looked_at


def sealed(raw: bytes) -> bytes:
    """Lines with the checksum that a stranger would compute; those that have one keep it."""
    lines = raw.split(b"\n")
    return b"\n".join(seal(line) if line[:1] == b"{" and not line.startswith(b'{"crc":') else line for line in lines)


def read_yaml(raw: bytes) -> None:
    with held(SeedreamError):
        schema.check(yaml_reader.parse(raw, "job.yaml"))


def read_template(raw: bytes) -> None:
    with held(TemplateProblem):
        compile_template(raw.decode("utf-8", "replace")).render(DATA)


def read_condition(raw: bytes) -> None:
    with held(TemplateProblem):
        compile_condition(raw.decode("utf-8", "replace"))(DATA)


def read_manifest_lines(raw: bytes) -> None:
    with held(SeedreamError):
        looked_at(read_manifest(sealed(raw), "job.manifest.jsonl"))


def read_journal_lines(raw: bytes) -> None:
    with held(SeedreamError):
        read_header(Snapshot(sealed(raw)))
        contents = read_journal(sealed(raw), "job.journal")
        if contents is not None:
            looked_at(alone(contents))


def read_plan(raw: bytes) -> None:
    """With the checksum that a stranger would compute: an edit keeps none right."""
    try:
        plan = json.loads(raw)
        plan.pop("checksum", None)
        raw = json.dumps({**plan, "checksum": saved._checksum(plan)}).encode()
    except (ValueError, RecursionError, AttributeError, TypeError, Malformed):
        pass  # no plan; it is read as it is
    Path("plan.json").write_bytes(raw)
    with held(SeedreamError):
        saved.read(Path("plan.json"))


def read_rules(raw: bytes) -> None:
    with held(SeedreamError):
        read_policy(raw, "policy.yaml", today=TODAY)


def unsealed_seeds(files: Iterable[Path]) -> list[bytes]:
    """Records without their checksums: a mutation keeps none right."""
    return [b"\n".join(b"{" + line[18:] for line in file.read_bytes().splitlines()[:12]) for file in files]


def prompts() -> list[bytes]:
    """Lines of the hostile cases that have templates, each a seed."""
    cases = (Path(__file__).parent / "cases").glob("template-*.yaml")
    return sorted(
        {line.strip().encode() for case in cases for line in case.read_text("utf-8").split("\n") if "{" in line}
    )


CONDITIONS = [b"a == 'x' and b in [1, 2]", b"m.text is defined or not (rows | length > 3)"]
READERS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "yaml": (read_yaml, lambda: [file.read_bytes() for file in EXAMPLES]),
    "template": (read_template, prompts),
    "condition": (
        read_condition,
        lambda: CONDITIONS,
    ),
    "manifest": (read_manifest_lines, lambda: unsealed_seeds(GOLDEN.glob("records/*.jsonl"))),
    "journal": (read_journal_lines, lambda: unsealed_seeds(GOLDEN.glob("records/*.journal"))),
    "plan": (read_plan, lambda: [file.read_bytes() for file in GOLDEN.glob("plans/*.json")]),
    "policy": (
        read_rules,
        lambda: [POLICY.encode()],
    ),
}


def main(arguments: list[str]) -> None:
    """Fuzz one reader until libFuzzer ends the process."""
    if not arguments or arguments[0] not in READERS:
        sys.exit(f"usage: dev.py fuzz {'|'.join(READERS)} [-runs=N] [-max_total_time=SECONDS] [CORPUS]")
    name, *options = arguments
    read, seeds = READERS[name]
    corpus = tempfile.mkdtemp(prefix=f"fuzz-{name}-")
    for number, seed in enumerate(seeds()):
        Path(corpus, f"seed-{number}").write_bytes(seed)
    options = [os.path.abspath(one) if not one.startswith("-") else one for one in options]
    os.chdir(tempfile.mkdtemp(prefix="fuzz-run-"))
    atheris.Setup(["fuzz", *options, corpus, "-timeout=20", "-rss_limit_mb=2048", "-max_len=32768"], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
