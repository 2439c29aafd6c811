"""Speed, as ratios side by side in one run: ``python -m bench [STAGE…]``.

One module per stage, each with a ``TITLE`` and a ``run(quick)`` that gives a ``Result``: rows of interleaved
measurements, and the goals they are held against. ``--save`` merges the results into ``results.json``, from which
``docs/performance.md`` and its plot are drawn.
"""
