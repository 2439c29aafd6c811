"""An explanation of one address as text: what becomes of it, and every reason with its place."""

from __future__ import annotations

from seedream_jobs.expand.explain import Explanation

_VERDICTS = {"made": "is made", "dropped": "is not made", "merged": "is made once, with another one"}


def explanation_text(explanation: Explanation) -> str:
    """Lines such as ``axis     size = 16:9    garden.yaml:12``, with a final line end."""
    lines = [f"{explanation.address} {_VERDICTS[explanation.verdict]}"]
    width = max((len(reason.what) for reason in explanation.reasons), default=0)
    for reason in explanation.reasons:
        place = f"  [{reason.place}]" if reason.place else ""
        lines.append(f"  {reason.what:<{width}}  {reason.text}{place}")
    request = explanation.request
    if request is not None:
        lines.append(f"  {'output':<{width}}  {request.output}")
        lines.append(f"  {'key':<{width}}  {request.key}")
    return "\n".join(lines) + "\n"
