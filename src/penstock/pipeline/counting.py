"""What a call used, where its provider did not say all: our own count, marked as estimated."""

from collections.abc import Mapping
from typing import Any

from penstock.core.tokens import estimate_answer, estimate_request
from penstock.core.usage import NO_USAGE, Usage
from penstock.wire.answers import EMPTY, verdict


def count(
    dialect: str, fields: Mapping[str, Any], reported: Usage | None, answer: Mapping[str, Any] | None, *, whole: bool
) -> tuple[Usage, bool]:
    """The usage of a call that worked, and whether it is our own count.

    ``answer``: what came of it, None when nothing did; ``whole``: it is all there. No output is no report of an answer
    that says something, and what was reported of an answer that was cut off is the least that it used.
    """
    if dialect == "count_tokens" or (reported is not None and whole and verdict(dialect, answer) == EMPTY):
        return reported or NO_USAGE, False
    output = estimate_answer(answer or {})
    if reported is None or not reported.total:
        return Usage(input_miss=estimate_request(dialect, fields), output=output), True
    return reported._replace(output=max(reported.output, output)), output > 0 or not whole
