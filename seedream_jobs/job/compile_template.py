"""Compiles a prompt's text into a ``Template``: without Jinja where it only puts values in, else with it."""

from __future__ import annotations

from seedream_jobs.job.plain_template import plain_template
from seedream_jobs.job.template import Template


def compile_template(source: str) -> Template:
    """Compile ``source``.

    :raises TemplateProblem: with the line of a syntax error
    """
    plain = plain_template(source)
    if plain is not None:
        return plain
    from seedream_jobs.job.jinja_template import jinja_template  # 40 ms, which most job files do without

    return jinja_template(source)
