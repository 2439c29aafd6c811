from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft7Validator
from jsonschema.validators import extend

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.job.schema import check
from seedream_jobs.job.yaml_reader import parse
from seedream_jobs.resources import resource

Schema = dict[str, Any]


def _read(name: str) -> Schema:
    schema: Schema = json.loads(resource("schemas", name).read_text(encoding="utf-8"))
    return schema


@pytest.fixture(scope="session")
def job_schema() -> Schema:
    return _read("job.schema.json")


@pytest.fixture(scope="session")
def request_schema() -> Schema:
    return _read("request.schema.json")


@pytest.fixture(scope="session")
def model_schema() -> Schema:
    return _read("model.schema.json")


@pytest.fixture(scope="session")
def strictly() -> Callable[[Schema], Any]:
    """A draft-07 validator of ``jsonschema`` for which 1.0 is no integer, built apart from the program's."""

    def is_integer(_: object, value: object) -> bool:
        return type(value) is int

    checker = Draft7Validator.TYPE_CHECKER.redefine("integer", is_integer)
    return lambda schema: extend(Draft7Validator, type_checker=checker)(schema)


@pytest.fixture(scope="session")
def findings() -> Callable[[str], list[Diagnostic]]:
    """The schema's findings in a job file's text."""
    return lambda text: check(parse(text.encode(), "job.yaml"))
