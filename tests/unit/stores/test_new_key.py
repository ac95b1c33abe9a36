"""New keys: long, unguessable, recognisable, and stored only as a hash."""

import hashlib
from typing import Any

import pytest

from penstock.errors import StoreError
from penstock.ports.keys import KeyRecord
from penstock.stores.new_key import key_ids, new_key


def digest(key: str) -> str:
    """Any hash will do."""
    return hashlib.sha256(key.encode()).hexdigest()


def test_a_key_is_long_and_its_record_does_not_hold_it() -> None:
    """256 bits of chance behind the prefix; the record has the digest and ten characters to recognise it by."""
    keys = {new_key("ci", id_="key_1", digest=digest, now=100.0)[0] for _ in range(50)}
    assert len(keys) == 50
    assert all(key.startswith("psk-") and len(key) >= 4 + 43 for key in keys)
    key, record = new_key("ci", id_="key_1", digest=digest, now=100.0, models=("a",), rpm=5, expires_in_s=60.0)
    assert record == KeyRecord(
        id="key_1", name="ci", digest=digest(key), prefix=key[:10], created_at=100.0, expires_at=160.0, models=("a",),
        rpm=5,
    )  # fmt: skip
    assert key not in repr(record)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x1b[2J", "n" * 101])
def test_an_unreadable_name_is_refused(name: str) -> None:
    """Names are printed in lists."""
    with pytest.raises(StoreError, match="printable"):
        new_key(name, id_="key_1", digest=digest, now=100.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"expires_in_s": 1e308}, {"expires_in_s": float("inf")}, {"expires_in_s": float("nan")}, {"expires_in_s": 0.0},
        {"expires_in_s": -1.0}, {"rpm": 0}, {"tpm": 2**63}, {"concurrency": -1}, {"team": "a\x1b[2J"},
    ],
)  # fmt: skip
def test_what_no_list_could_show_or_no_store_could_hold_is_refused(wrong: dict[str, Any]) -> None:
    """One such key would break the list of all."""
    with pytest.raises(StoreError):
        new_key("ci", id_="key_1", digest=digest, now=100.0, **wrong)


def test_a_name_means_every_tenant_that_had_it() -> None:
    """Stored keys by name or id, old ones too; a key of the config; the tenant of open mode."""
    records = [KeyRecord(f"key_{number}", "ci" if number < 3 else "app", "", "", 0.0) for number in range(1, 4)]
    assert key_ids("ci", records, ["ci", "dev"]) == ["key_1", "key_2", "config:ci"]
    assert key_ids("key_3", records, []) == ["key_3"]
    assert key_ids("anonymous", records, []) == ["anonymous"]
    assert key_ids("nobody", records, ["dev"]) == []
