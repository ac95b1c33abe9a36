"""Which server of a cluster has which keys: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/."""

import binascii
from collections.abc import Sequence
from typing import Any, Final

from penstock.stores.redis_url import Address

SLOTS: Final = 16384


def slot_of(key: bytes) -> int:
    """The slot of a key: of what stands between its first braces, where anything does."""
    begin = key.find(b"{")
    end = key.find(b"}", begin + 1)
    tag = key[begin + 1 : end] if begin >= 0 and end > begin + 1 else key
    return binascii.crc_hqx(tag, 0) % SLOTS  # CRC16 as XMODEM has it


def read_slots(reply: Sequence[Any], asked: Address) -> list[tuple[range, Address]]:
    """The masters of CLUSTER SLOTS; one without a name of its own is the one that was asked."""
    return [
        (range(first, last + 1), Address(master[0].decode() if master[0] else asked.host, master[1]))
        for first, last, master, *_ in reply
    ]


def read_redirection(error: str, asked: Address) -> Address | None:
    """Where ``MOVED 3999 127.0.0.1:6381`` points to; None = it is another error.

    One that names no host means that of the server that was asked.
    """
    words = error.split()
    if len(words) < 3 or words[0] not in {"MOVED", "ASK"}:  # noqa: PLR2004 - kind, slot, address
        return None
    host, _, port = words[2].rpartition(":")
    return Address(host.strip("[]") or asked.host, int(port))
