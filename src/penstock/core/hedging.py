"""When a second call is sent beside one that is late: hedging, off by default.

A hedge is sent once, at the learned P95 of first-byte times, so in health at most one call in twenty has one; it goes
to another deployment, never after an answer began, and takes its place in the retry budget (``RetryBudget.hedge``),
where it may use a part only: failures are cured first. The loser is cancelled, and both are metered.
"""

from typing import Final

LEAST_S: Final = 0.05
"""No hedge before this: a wait so short is not worth a call."""


def delay(p95_s: float | None, budget_left: int) -> float | None:
    """Seconds from a call's dispatch until its hedge is due; None = send none.

    ``p95_s``: of first-byte times of the deployment that is called, None = too few seen; ``budget_left``: hedges that
    the retry budget holds now.
    """
    return None if p95_s is None or budget_left < 1 else max(p95_s, LEAST_S)
