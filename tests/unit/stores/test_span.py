"""Instants as people ask for them."""

from datetime import UTC, datetime

import pytest

from penstock.errors import StoreError
from penstock.stores.span import parse_instant

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "zone", "instant"),
    [
        ("7d", "UTC", "2026-11-15T12:00+00:00"),
        ("12h", "Asia/Shanghai", "2026-11-22T00:00+00:00"),
        ("now", "UTC", "2026-11-22T12:00+00:00"),
        ("2026-11-01", "UTC", "2026-11-01T00:00+00:00"),
        ("2026-11-01", "Asia/Shanghai", "2026-10-31T16:00+00:00"),
        ("2026-11-01T08:30", "Asia/Shanghai", "2026-11-01T00:30+00:00"),
        ("2026-11-01T08:30Z", "Asia/Shanghai", "2026-11-01T08:30+00:00"),
        ("2026-11-01T08:30-05:00", "Asia/Shanghai", "2026-11-01T13:30+00:00"),
        ("all", "UTC", "1970-01-01T00:00+00:00"),
    ],
)
def test_an_instant_is_read(text: str, zone: str, instant: str) -> None:
    """Long ago, a date in a zone, a time in a zone or with its own offset, or the beginning."""
    assert datetime.fromtimestamp(parse_instant(text, NOW, zone), UTC) == datetime.fromisoformat(instant)


@pytest.mark.parametrize("text", ["", "gestern", "7", "7y", "2026-13-01", "2026-11-01T25:00", "-7d", "1e9d"])
def test_what_is_no_instant_is_refused(text: str) -> None:
    """With examples of what is one."""
    with pytest.raises(StoreError, match="2026-11-01"):
        parse_instant(text, NOW, "UTC")


def test_an_unknown_zone_is_refused() -> None:
    """A date in a zone that is none has no first instant."""
    with pytest.raises(StoreError, match="no time zone"):
        parse_instant("2026-11-01", NOW, "Mars/Olympus")
