"""Who is let in while the store of keys cannot be asked, and until when."""

import logging
from hashlib import sha256
from math import inf

import pytest

from penstock.config.settings import StaticKey
from penstock.errors import KeysUnavailable, UnknownKey
from penstock.pipeline.keyring import KeyRing, digest_key
from penstock.ports.keys import KeyRecord

PEPPER = b"a-pepper-of-at-least-thirty-two-bytes"
STATIC = StaticKey("dev", sha256(b"of-the-config").hexdigest(), "", (), None, None, None)
STORED = KeyRecord(id="key_1", name="app", digest=digest_key(PEPPER, "of-the-store"), prefix="of-", created_at=0.0)


def ring(*static: StaticKey, stored: tuple[KeyRecord, ...] = (STORED,), stale_s: float = 100.0) -> KeyRing:
    """One that heard from its store at 1000, and not again."""
    made = KeyRing(PEPPER, static, stale_s)
    made.load(stored, 1)
    made.confirm(1000.0)
    made.doubt()
    return made


def test_a_key_is_believed_for_as_long_as_the_setting_says() -> None:
    """To the second, and not a moment longer."""
    assert ring().identify("of-the-store", 1100.0, 1100.0).name == "app"
    with pytest.raises(KeysUnavailable) as refused:
        ring().identify("of-the-store", 1100.001, 1100.001)
    assert refused.value.retry_after_s


def test_who_can_be_asked_is_believed() -> None:
    """A process that slept for a day has not failed to ask."""
    keys = ring()
    keys.confirm(1000.0)
    assert keys.identify("of-the-store", 9e9, 9e9).name == "app"


def test_a_stranger_is_told_so_while_the_keys_are_known() -> None:
    """And afterwards that nobody knows: it may have got its key meanwhile."""
    with pytest.raises(UnknownKey):
        ring().identify("a-strangers", 1100.0, 1100.0)
    with pytest.raises(KeysUnavailable):
        ring().identify("a-strangers", 1101.0, 1101.0)


def test_keys_of_the_config_do_not_depend_on_the_store() -> None:
    """They stand in this process."""
    assert ring(STATIC).identify("of-the-config", 1e9, 1e9).name == "dev"


def test_open_mode_ends_with_what_is_known() -> None:
    """There may be a first key by now."""
    empty = ring(stored=())
    assert empty.identify("anything", 1100.0, 1100.0).name == "anonymous"
    with pytest.raises(KeysUnavailable):
        empty.identify("", 1101.0, 1101.0)


def test_what_the_store_says_again_holds_again(caplog: pytest.LogCaptureFixture) -> None:
    """It is told once that clients are refused for it, and once that they are not."""
    caplog.set_level(logging.INFO)
    keys = ring()
    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            keys.identify("of-the-store", 2000.0, 2000.0)
    keys.confirm(2000.0)
    keys.confirm(2001.0)
    assert keys.identify("of-the-store", 2100.0, 2100.0).name == "app"
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "of-the-store" not in caplog.text


def test_their_age_is_told() -> None:
    """In seconds; a clock that was set back makes nothing younger than new."""
    assert (ring().age_s(1030.0), ring().age_s(990.0)) == (30.0, 0.0)
    assert KeyRing(PEPPER, ()).age_s(inf) >= 0
