"""Which of several servers is used: the first in the URL that is there and writes.

A host whose machine is gone answers nothing at all, so the next one is asked beside it; all that is waited for in vain
is within one deadline. What a host took to say no is not counted in it: that has a deadline of its own.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar


class Closable(Protocol):
    """What is not wanted any more."""

    def terminate(self) -> None:
        """Close it without a word."""
        ...


C = TypeVar("C", bound=Closable)


async def first_of(
    tries: Sequence[Callable[[], Awaitable[C]]], within_s: float, failures: tuple[type[BaseException], ...]
) -> C:
    """The first that succeeds, in their order: each has a while before the next is tried beside it.

    ``within_s``: how long they are waited for while none of them ends. Raises one of the ``failures``: what a server
    said rather than that none was there.
    """
    if len(tries) == 1:
        return await tries[0]()
    left, running, failed = deque(tries), list[asyncio.Future[C]](), list[BaseException]()
    left_s, share_s = within_s, within_s / (1 + len(tries))
    try:
        while (left or running) and left_s > 0:
            if left:
                running.append(asyncio.ensure_future(left.popleft()()))
            wait_s = share_s if left else left_s
            ended, _ = await asyncio.wait(running, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            left_s -= 0.0 if ended else wait_s
            for each in [each for each in running if each.done()]:
                running.remove(each)
                try:
                    return each.result()
                except failures as failure:
                    failed.append(failure)
        if running:
            failed.append(TimeoutError("no server answered in time"))
    finally:
        for each in running:
            each.cancel()
            each.add_done_callback(_dispose)
    raise min(failed, key=lambda error: isinstance(error, OSError))


def _dispose(late: "asyncio.Future[C]") -> None:
    """It may have succeeded all the same."""
    if not late.cancelled():
        with suppress(Exception):
            late.result().terminate()
