"""Cache keys and Cache-Control."""

from typing import Any

import pytest

from penstock.core.cachekey import IGNORED, NO_DIRECTIVE, CacheDirective, cache_key, parse_directive

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 1}


def key(fields: dict[str, Any], tenant: str = "k", model: str = "m", dialect: str = "chat", policy: str = "p") -> bytes:
    """A key whose parts have defaults."""
    return cache_key(tenant, model, dialect, policy, fields)


def test_a_key_is_32_bytes_and_stays() -> None:
    """Keys are stored: a release that changed them would empty every cache, so it has to change this test."""
    assert key(ASKED).hex() == "6d70183176aa7ca6f8ebd468094ad41253adfb8ff92e3439375bd77daaae3716"


def test_ignored_fields() -> None:
    """DESIGN part 5, rule 5: exactly these, at the top only."""
    assert {
        "stream",
        "stream_options",
        "user",
        "user_id",
        "metadata",
        "store",
        "prompt_cache_key",
        "safety_identifier",
    } == IGNORED
    for name in IGNORED:
        assert key({**ASKED, name: {"a": 1}}) == key(ASKED)
        assert key({**ASKED, "thinking": {name: 1}}) != key({**ASKED, "thinking": {}})


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (1, True), (1.0, True), (0, False), (0, None), ("1", 1), ([], {})]
)
def test_kinds_of_values_differ(one: Any, other: Any) -> None:
    """A provider may read them differently, so they are different questions."""
    assert key({**ASKED, "x": one}) != key({**ASKED, "x": other})


def test_parts_do_not_run_together() -> None:
    """No part can pretend to be the end of the one before it."""
    keys = {
        key(ASKED, tenant="a", model="bc"),
        key(ASKED, tenant="ab", model="c"),
        key(ASKED, tenant='a","bc', model=""),
        key(ASKED, tenant="a", model="", dialect="bc"),
        key(ASKED, tenant="a", model="", dialect="", policy="bc"),
    }
    assert len(keys) == 5


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", CacheDirective()),
        ("no-store", CacheDirective(no_store=True)),
        ("No-Cache", CacheDirective(no_cache=True)),
        ("only-if-cached", CacheDirective(only_if_cached=True)),
        ("max-age=60", CacheDirective(max_age_s=60)),
        ("max-age=0", CacheDirective(max_age_s=0)),
        ('max-age="60"', CacheDirective(max_age_s=60)),
        ("max-age = 60", CacheDirective(max_age_s=60)),
        (" no-cache ,max-age=5,\tno-store", CacheDirective(no_store=True, no_cache=True, max_age_s=5)),
        ("max-age=60, max-age=5", CacheDirective(max_age_s=5)),
        ("max-age=x, max-age=7", CacheDirective(max_age_s=7)),
        ("max-age", CacheDirective()),
        ("max-age=", CacheDirective()),
        ("max-age=-1", CacheDirective()),
        ("max-age=1.5", CacheDirective()),
        ("max-age=٣", CacheDirective()),
        ("max-age=" + "9" * 5000, CacheDirective()),
        ("no-transform, max-stale=3, min-fresh, foo=bar", CacheDirective()),
        (",,;=,", CacheDirective()),
        ("no-cache=x", CacheDirective(no_cache=True)),
        ("xno-cache, no-cachex", CacheDirective()),
    ],
)
def test_parse_directive(header: str, expected: CacheDirective) -> None:
    """RFC 9111: what is unknown or malformed asks for nothing."""
    assert parse_directive(header) == expected


def test_no_directive() -> None:
    """A request without the header costs no parsing."""
    assert parse_directive("") is NO_DIRECTIVE
