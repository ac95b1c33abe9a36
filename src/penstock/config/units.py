"""How the file spells quantities: ``30s``, ``8MiB``, ``127.0.0.1:8787``, ``7.10``.

Every parser takes text and returns a value, or raises ValueError with what follows the text's name: "lacks its unit;
write ...". It never repeats the text: the caller knows whether that may be shown.
"""

import ipaddress
import re
from decimal import Decimal
from typing import Final

from penstock.config.settings import Address

_SECONDS: Final = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86_400),
}
_BYTES: Final = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_LONGEST_S: Final = 3650 * 86_400
_LARGEST: Final = 2**50
_QUANTITY: Final = re.compile(r"(\d{1,16}(?:\.\d{1,9})?)\s?([A-Za-z]+)", re.ASCII)
_WHOLE: Final = re.compile(r"-?(?:0|[1-9]\d{0,17})", re.ASCII)
_AMOUNT: Final = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,18})?", re.ASCII)
_HOST: Final = re.compile(r"(?!-)[A-Za-z0-9.-]{1,253}", re.ASCII)
_PORT: Final = re.compile(r"\d{1,5}", re.ASCII)
_TIME: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_LAST_PORT: Final = 65_535


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError unless it is a number with one of ms, s, m, h, d."""
    number, unit = _split(text, "duration", "15ms, 30s, 5m, 1h or 1d")
    if unit not in _SECONDS:
        raise ValueError("has an unknown unit; use ms, s, m, h or d")
    seconds = number * _SECONDS[unit]
    if seconds > _LONGEST_S:
        raise ValueError("is too long; 3650d is the most")
    return float(seconds)


def format_duration(seconds: float) -> str:
    """``seconds`` (to the millisecond) in the largest unit that needs no fraction."""
    milliseconds = round(seconds * 1000)
    for unit in ("d", "h", "m", "s"):
        size = int(_SECONDS[unit] * 1000)
        if milliseconds % size == 0 and milliseconds:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def parse_minute(text: str) -> int:
    """Minutes after midnight. Raises ValueError unless it is a time of day such as 09:00."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("is no time of day; write hours and minutes, such as 09:00")
    return int(found[1]) * 60 + int(found[2])


def format_minute(minute: int) -> str:
    """Minutes after midnight as ``09:00``."""
    return f"{minute // 60:02}:{minute % 60:02}"


def parse_size(text: str) -> int:
    """Bytes. Raises ValueError unless it is a number with one of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB."""
    number, unit = _split(text, "size", "512KiB, 8MiB or 10MB")
    if unit not in _BYTES:
        raise ValueError("has an unknown unit; use B, kB, MB, GB, TB, KiB, MiB, GiB or TiB")
    size = number * _BYTES[unit]
    if size != int(size):
        raise ValueError("is no whole number of bytes; use a smaller unit")
    if size > _LARGEST:
        raise ValueError("is too large; 1024TiB is the most")
    return int(size)


def format_size(size: int) -> str:
    """``size`` in bytes in the largest binary unit that needs no fraction."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def parse_address(text: str) -> Address:
    """A listen address; port 0 = any free one. Raises ValueError unless it is ``host:port`` or ``[ipv6]:port``."""
    host, colon, port = text.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > _LAST_PORT:
        raise ValueError("is no listen address; write host:port, such as 127.0.0.1:8787 or [::1]:8787")
    if host.startswith("[") and host.endswith("]"):
        return Address(_ipv6(host[1:-1]), int(port))
    if ":" in host:
        raise ValueError("has an IPv6 address without brackets; write it as in [::1]:8787")
    if not _HOST.fullmatch(host):
        raise ValueError("names no host before the port; write 127.0.0.1:8787, or 0.0.0.0:8787 for all addresses")
    return Address(host, int(port))


def is_loopback(address: Address) -> bool:
    """Whether only this machine can reach it."""
    if address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


def parse_whole(text: str) -> int:
    """A whole number, digits only. Raises ValueError otherwise."""
    if not _WHOLE.fullmatch(text):
        raise ValueError("is no whole number; write digits only, such as 512")
    return int(text)


def parse_amount(text: str) -> Decimal:
    """An exact amount. Raises ValueError unless it is plain decimal notation, such as 0.02 or 7.10."""
    if not _AMOUNT.fullmatch(text):
        raise ValueError("is no amount; write a plain decimal number, such as 0.02 or 7.10")
    return Decimal(text)


def _split(text: str, noun: str, examples: str) -> tuple[Decimal, str]:
    if match := _QUANTITY.fullmatch(text):
        return Decimal(match[1]), match[2]
    wrong = "lacks its unit" if _AMOUNT.fullmatch(text) else f"is no {noun}"
    raise ValueError(f"{wrong}; write a {noun} such as {examples}")


def _ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise ValueError("has no valid IPv6 address in its brackets; write it as in [::1]:8787") from None
