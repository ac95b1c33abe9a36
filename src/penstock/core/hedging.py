"""When a second call is sent beside one that is late: hedging, off by default.

A hedge is sent once, at the learned P95 of first-byte times, so in health at most one call in twenty has one; it goes
to another deployment, never after an answer began, and takes its place in the retry budget (``RetryBudget.hedge``),
where it may use a part only: failures are cured first. The loser is cancelled, and both are metered.
"""

from typing import Final

LEAST_S: Final = 0.05
"""No hedge before this: a wait so short is not worth a call."""


def delay(
    p95_s: float | None, waited_s: float, budget_left: int, *, begun: bool, hedged: bool, elsewhere: bool
) -> float | None:
    """Seconds from now until the hedge is due, 0.0 = now; None = send none.

    ``p95_s``: of first-byte times of the deployment that was called, None = too few seen; ``waited_s``: since
    dispatch; ``budget_left``: hedges that the retry budget holds now; ``begun``: a first data event came; ``hedged``:
    there is one already; ``elsewhere``: another deployment of the plan may be called and was not.
    """
    if p95_s is None or begun or hedged or not elsewhere or budget_left < 1:
        return None
    return max(0.0, max(p95_s, LEAST_S) - waited_s)
