"""What is lent of budgets, in Redis: the port Rooms as scripts (``lua/``), each a step that nothing comes between.

Fails closed: nothing is lent that was not heard of. All keys stand in one slot, so that a script sees them together:

    {<prefix>:money}:head               epoch, server (the process it began on), changes
    {<prefix>:money}:old                epochs whose keys are still to go
    {<prefix>:money}:<epoch>:leases     by when they were renewed; those that live
    {<prefix>:money}:<epoch>:ended      leases that are not yet
    {<prefix>:money}:<epoch>:final      leases that were added to the bases
    {<prefix>:money}:<epoch>:accounts   by when they are forgotten
    {<prefix>:money}:<epoch>:short      accounts that refused somebody, by when
    {<prefix>:money}:<epoch>:of:<lease> the accounts of which it has a part
    {<prefix>:money}:<epoch>:a:<name>   an account: base, l:<lease> (its part), p:<lease> (what it spent of that)

None of them expires by itself: a server that evicts what expires (``volatile-*``) leaves money alone, and an account
that is gone though it is listed means that the server lost something. Amounts may be anything up to 2^63.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from math import isinf
from typing import Final

import msgspec

from penstock.core.budget import Place
from penstock.errors import EpochLost, LeaseEnded
from penstock.ports.leases import LEASE_S
from penstock.ports.lending import Beat, Lent, Return, Want
from penstock.stores.memory_rooms import LEASE_ENDED, SPREAD
from penstock.stores.redis_connection import Reply, ReplyError, Word
from penstock.stores.redis_link import RedisLink, checked
from penstock.stores.scripts import load_script

AT_ONCE: Final = 200
"""Accounts of a lease that has ended: each call is some milliseconds of Redis."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Place).decode


class RedisRooms:
    """The port Rooms. For one loop."""

    def __init__(self, link: RedisLink, prefix: str = "penstock", at_once: int = AT_ONCE) -> None:
        """``prefix``: tells several gateways in one Redis apart."""
        self._link = link
        self._at_once = at_once
        self._all = f"{{{prefix}:money}}:".encode()
        self._seen: tuple[int, int] = (0, 0)
        names = ("begin", "enter", "lend", "beat", "account", "lease")
        self._scripts = {name: load_script(name) for name in names}

    @property
    def _head(self) -> bytes:
        return self._all + b"head"

    async def server(self) -> str:
        """The id of the process that has the money."""
        return await self._link.server(self._head)

    async def begin(self, epoch: int, server: str) -> None:
        """Only forward."""
        keys = (self._head, self._all + b"old")
        changes = _read(await self._link.run(self._scripts["begin"], keys, (epoch, server)))
        self._note(epoch, int(changes))

    async def enter(self, epoch: int, lease: str) -> None:
        """A new lease."""
        keys = self._keys(epoch, "leases", "final")
        self._note(epoch, int(await self._run("enter", epoch, keys, lease)))

    async def ask(self, epoch: int, lease: str, wants: Sequence[Want]) -> Sequence[Lent]:
        """Of all of them, or of none."""
        names = [_name(want.place) for want in wants]
        keys = (*self._keys(epoch, "leases", "short", "accounts", f"of:{lease}"), *self._accounts(epoch, names))
        words = _flat((name, want.limit, want.want, want.least) for name, want in zip(names, wants, strict=True))
        changes, *told = await self._run("lend", epoch, keys, lease, SPREAD, *words)
        self._note(epoch, int(changes))
        return [Lent(bool(known), *map(int, amounts)) for known, *amounts in told]

    async def give_back(self, epoch: int, lease: str, returns: Sequence[Return]) -> Sequence[int]:
        """Book what is spent, take what comes back."""
        return (await self._beat(epoch, lease, returns, renew=False)).parts

    async def renew(self, epoch: int, lease: str, returns: Sequence[Return]) -> Beat:
        """As ``give_back``; and who is silent, and where somebody is short."""
        return await self._beat(epoch, lease, returns, renew=True)

    async def set_account(
        self, epoch: int, place: Place, base: int, spent: Mapping[str, int], forget_in_s: float
    ) -> bool:
        """The first one counts."""
        name = _name(place)
        leases = [f"of:{lease}" for lease in spent]
        keys = (*self._keys(epoch, "leases", "accounts"), *self._accounts(epoch, [name]), *self._keys(epoch, *leases))
        forget_in_ms = -1 if isinf(forget_in_s) else round(forget_in_s * 1000)
        words = (name, base, forget_in_ms, *_flat(spent.items()))
        changes, is_set = await self._run("account", epoch, keys, *words)
        self._note(epoch, int(changes))
        return bool(is_set)

    async def set_lease(self, epoch: int, lease: str, spent: Mapping[Place, int], *, final: bool) -> None:
        """What it has is what it spent; for good, if it is final.

        From the first step on nothing is lent under it. Who is ended in between leaves some of it taken as it was, till
        it is said again.
        """
        await self._set_some(epoch, lease, (), final=False)
        amounts = {_name(place): amount for place, amount in spent.items()}
        names = await self._names_of(epoch, lease)
        for start in range(0, len(names), self._at_once):
            words = [(name, amounts.get(name, 0)) for name in names[start : start + self._at_once]]
            await self._set_some(epoch, lease, words, final=final)
        if final:
            await self._set_some(epoch, lease, (), final=True)

    async def _set_some(self, epoch: int, lease: str, words: Iterable[tuple[Word, ...]], *, final: bool) -> None:
        keys = self._keys(epoch, "leases", "final", f"of:{lease}", "ended")
        (beginning,) = self._accounts(epoch, [b""])
        self._note(epoch, int(await self._run("lease", epoch, keys, lease, int(final), beginning, *_flat(words))))

    async def _names_of(self, epoch: int, lease: str) -> Sequence[bytes]:
        """Of which accounts a lease has a part."""
        (key,), cursor, names = self._keys(epoch, f"of:{lease}"), b"0", dict[bytes, None]()
        while True:
            cursor, some = await self._link.call(key, "SSCAN", key, cursor, "COUNT", self._at_once)
            names.update(dict.fromkeys(some))
            if cursor == b"0":
                return list(names)

    # --- scripts

    async def _beat(self, epoch: int, lease: str, returns: Sequence[Return], *, renew: bool) -> Beat:
        names = [_name(each.place) for each in returns]
        keys = (
            *self._keys(epoch, "leases", "short", "accounts", f"of:{lease}", "ended"),
            self._all + b"old",
            *self._accounts(epoch, names),
        )
        words = _flat((each.back, each.spent) for each in returns)
        changes, parts, short, silent, ended = await self._run(
            "beat", epoch, keys, lease, int(renew), round(LEASE_S * 1000), self._all, *words
        )
        self._note(epoch, int(changes))
        return Beat(
            [_decode(name) for name in short],
            [each.decode() for each in silent],
            [int(each) for each in parts],
            sorted(each.decode() for each in ended),
        )

    async def _run(self, name: str, epoch: int, keys: Sequence[bytes], *words: Word) -> Reply:
        seen = self._seen[1] if self._seen[0] == epoch else 0
        return _read(await self._link.run(self._scripts[name], (self._head, *keys), (epoch, seen, *words)))

    def _note(self, epoch: int, changes: int) -> None:
        self._seen = max(self._seen, (epoch, changes))

    def _keys(self, epoch: int, *names: str) -> tuple[bytes, ...]:
        return tuple(b"%b%d:%b" % (self._all, epoch, name.encode()) for name in names)

    def _accounts(self, epoch: int, names: Sequence[bytes]) -> tuple[bytes, ...]:
        return tuple(b"%b%d:a:%b" % (self._all, epoch, name) for name in names)


def _flat(rows: Iterable[tuple[Word, ...]]) -> Iterator[Word]:
    return chain.from_iterable(rows)


def _name(place: Place) -> bytes:
    return _encode(place)


def _read(answer: Reply) -> Reply:
    """What a script says. Raises EpochLost, LeaseEnded, SharedUnavailable."""
    if isinstance(answer, ReplyError):
        kind, _, found = str(answer).partition(" ")
        if kind == "EPOCHLOST":
            raise EpochLost(int(found) if found else None)
        if kind == "LEASEENDED":
            raise LeaseEnded(LEASE_ENDED)
    return checked(answer)
