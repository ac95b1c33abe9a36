"""Look-ups of names: shared while they are under way, not remembered, not ended by who no longer waits."""

import asyncio
import socket

import pytest

from penstock.providers.names import Found, Names

ADDRESS = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]


class Resolver:
    """Answers when it is told to, and counts."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.ended = 0
        self.answers: asyncio.Queue[Found | OSError] = asyncio.Queue()

    async def look_up(self, host: str, port: int) -> Found:
        """The next answer."""
        self.asked.append((host, port))
        try:
            answer = await self.answers.get()
        finally:
            self.ended += 1
        if isinstance(answer, OSError):
            raise answer
        return answer


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_at_once_asks_once() -> None:
    """A hundred calls to one name are one look-up, and the next call is another."""
    resolver = Resolver()
    names = Names(resolver.look_up)
    asking = [asyncio.ensure_future(names.find("one", 80)) for _ in range(100)]
    await settle()
    resolver.answers.put_nowait(ADDRESS)
    assert await asyncio.gather(*asking) == [ADDRESS] * 100
    assert resolver.asked == [("one", 80)]
    resolver.answers.put_nowait([])
    assert await names.find("one", 80) == []
    assert len(resolver.asked) == 2


async def test_other_names_are_asked_beside_it() -> None:
    """And other ports."""
    resolver = Resolver()
    names = Names(resolver.look_up)
    asking = [asyncio.ensure_future(names.find(*key)) for key in (("one", 80), ("two", 80), ("one", 443))]
    await settle()
    assert resolver.asked == [("one", 80), ("two", 80), ("one", 443)]
    for _ in asking:
        resolver.answers.put_nowait(ADDRESS)
    await asyncio.gather(*asking)


async def test_a_failure_is_everybodys_and_not_remembered() -> None:
    """The name may be well at the next call."""
    resolver = Resolver()
    names = Names(resolver.look_up)
    asking = [asyncio.ensure_future(names.find("one", 80)) for _ in range(3)]
    await settle()
    resolver.answers.put_nowait(socket.gaierror(-2, "no such name"))
    assert [type(each) for each in await asyncio.gather(*asking, return_exceptions=True)] == [socket.gaierror] * 3
    resolver.answers.put_nowait(ADDRESS)
    assert await names.find("one", 80) == ADDRESS


async def test_who_gives_up_ends_it_for_nobody_else() -> None:
    """Not even the first; and a failure that nobody waits for is no warning."""
    resolver = Resolver()
    names = Names(resolver.look_up)
    first, second = (asyncio.ensure_future(names.find("one", 80)) for _ in range(2))
    await settle()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    resolver.answers.put_nowait(ADDRESS)
    assert await second == ADDRESS
    third = asyncio.ensure_future(names.find("one", 80))
    await settle()
    third.cancel()
    resolver.answers.put_nowait(OSError("nobody hears this"))
    await settle()
    assert resolver.ended == 2


async def test_closing_leaves_nothing_under_way() -> None:
    """Also when a look-up hangs."""
    resolver = Resolver()
    names = Names(resolver.look_up)
    asking = asyncio.ensure_future(names.find("one", 80))
    await settle()
    await names.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert resolver.ended == 1
