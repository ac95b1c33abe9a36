"""The committed rules in a hurry, for runs that cannot wait for minutes: the same rules, with every time made shorter.

Nothing else of a rule is touched. A time is what stands in ``for``, in a range (``[5m]``, ``[1h:5m]``) or behind
``offset``; and where a rate is made a count again, the seconds of its range (``* 300``). ``SHORTER`` says what becomes
of each; no other may occur. A longer time stays at least as long as a shorter one, an hour fits six times into a day,
and every range has room for several scrapes of a second.

Thresholds stay as they are: they are shares, or seconds that clients wait.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import yaml

from tests.support.prometheus_server import PLACE

SHORTER: Final[Mapping[str, str]] = MappingProxyType(
    {
        "1m": "1s", "2m": "1s",
        "5m": "6s", "10m": "6s", "15m": "6s", "30m": "6s", "1h": "7s", "2h": "7s", "6h": "8s",
        "1d": "42s", "2d": "43s", "3d": "44s", "4d": "45s", "5d": "46s", "6d": "47s", "7d": "48s",
    }
)  # fmt: skip
"""By how it is written in the rules."""

_WRITTEN: Final = {"300": "5m", "900": "15m"}
"""Ranges in seconds."""
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TIME: Final = r"(\d+[smhd])"
_TIMES: Final = re.compile(rf"(\[){_TIME}(?:(:){_TIME})?|(\boffset ){_TIME}")
_COUNTED: Final = re.compile(r"(?<=\* )(300|900)\b")


def hurried(document: Mapping[str, Any], shorter: Mapping[str, str] = SHORTER) -> dict[str, Any]:
    """A rule file, as it is read, in a hurry. Raises KeyError for a time that ``shorter`` does not know."""
    groups = document["groups"]
    return {"groups": [{**each, "rules": [_rule(rule, shorter) for rule in each["rules"]]} for each in groups]}


def hurried_expr(expr: str, shorter: Mapping[str, str] = SHORTER) -> str:
    """The same of one expression."""

    def times(found: re.Match[str]) -> str:
        return "".join(shorter[part] if part[0].isdigit() else part for part in found.groups() if part)

    def counted(found: re.Match[str]) -> str:
        return str(seconds(shorter[_WRITTEN[found[0]]]))

    return _COUNTED.sub(counted, _TIMES.sub(times, expr))


def seconds(time: str) -> int:
    """Of a time as rules write it."""
    return int(time[:-1]) * _UNIT_S[time[-1]]


def write_hurried(directory: Path) -> None:
    """Each file of deploy/prometheus/rules, under its own name."""
    for path in sorted((PLACE / "rules").glob("*.yaml")):
        document = hurried(yaml.load(path.read_text("utf-8"), yaml.CSafeLoader))
        (directory / path.name).write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")


def _rule(rule: Mapping[str, Any], shorter: Mapping[str, str]) -> dict[str, Any]:
    made = {**rule, "expr": hurried_expr(rule["expr"], shorter)}
    return made | {"for": shorter[rule["for"]]} if "for" in rule else made
