"""The laws of comparing a job with itself at another revision."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.plans.causes import BaseCauses
from seedream_jobs.plans.load import Target, load_job
from seedream_jobs.plans.review import Comparison, _local_address
from tests.lanes import examples

TARGET = Target(origin="https://api.apimart.ai", emulator=False)


class OneFile:
    """A tree that holds one job file."""

    def __init__(self, text: str) -> None:
        self.text = text.encode()

    def read(self, path: PurePosixPath, *, limit: int, named: bool = False) -> bytes:
        return self.text[:limit]

    def glob(self, folder: PurePosixPath, pattern: str) -> list[PurePosixPath]:
        return []


def expansion(subjects: list[str], styles: dict[str, str], repeat: int) -> Expansion:
    listed = ", ".join(f"{{id: {name}, text: {text}}}" for name, text in styles.items())
    text = (
        'version: 1\nrequest: {prompt: "{{ s }} {{ t.text }}"}\n'
        f"matrix: {{s: [{', '.join(subjects)}], t: [{listed}]}}\nrepeat: {repeat}\n"
    )
    job = load_job(Path("/nowhere/job.yaml"), shown="job.yaml", target=TARGET, sets={}, files=OneFile(text))
    return job.expansion


jobs = st.builds(
    expansion,
    st.lists(st.sampled_from(["fox", "owl", "elk", "hen"]), min_size=1, max_size=3, unique=True),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from(["oil", "ink", "pen"]), min_size=1, max_size=3),
    st.integers(1, 2),
)


@settings(deadline=None, max_examples=examples(60))
@given(base=jobs, head=jobs)
def test_new_changed_unchanged_and_removed_are_a_partition(base: Expansion, head: Expansion) -> None:
    """Keys decide: what both have is unchanged; each request of either side is counted once; pairs share an address."""
    comparison = Comparison(head, base)
    heads = {place.key: place for place in head.places()}
    bases = {place.key for place in base.places()}
    relations = {key: comparison.relation(place) for key, place in heads.items()}
    counts = Counter(relations.values())
    removed = [one.key for one in comparison.removed(Entries())]
    assert {key for key, relation in relations.items() if relation == "unchanged"} == set(heads) & bases
    assert counts["unchanged"] + counts["changed"] + len(removed) == len(bases)
    befores = set()
    for key, relation in relations.items():
        if relation == "changed":
            before = comparison.before(heads[key])
            assert before.key not in heads
            assert before.address.removeprefix("job/") == _local_address(head, heads[key])
            befores.add(before.key)
    assert befores | set(removed) == bases - set(heads)
    assert len(befores) == counts["changed"]


@settings(deadline=None, max_examples=examples(30))
@given(base=jobs, head=jobs)
def test_every_request_has_one_cause(base: Expansion, head: Expansion) -> None:
    """As many as there are new and changed requests, none for the others."""
    comparison, causes = Comparison(head, base), BaseCauses(head, base)
    wanted = 0
    for place in head.places():
        relation = comparison.relation(place)
        if relation == "new":
            causes.count_new(place)
        elif relation == "changed":
            causes.count_changed(place, comparison.before(place))
        wanted += relation != "unchanged"
    found, _ = causes.result()
    assert sum(cause.requests for cause in found) == wanted
    assert all(cause.place.startswith("job.yaml:") for cause in found)


@settings(deadline=None, max_examples=examples(20))
@given(job=jobs)
def test_a_job_against_itself_is_unchanged(job: Expansion) -> None:
    """Nothing new, nothing changed, nothing removed."""
    comparison = Comparison(job, job)
    assert {comparison.relation(place) for place in job.places()} == {"unchanged"}
    assert list(comparison.removed(Entries())) == []
