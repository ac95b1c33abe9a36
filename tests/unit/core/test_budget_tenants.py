"""Budgets by key where an edge asks for many: what its tenants spend it has spent."""

from zoneinfo import ZoneInfo

import pytest

from penstock.core.budget import Budget, Payer, key_values
from penstock.ports.ledger import Posted
from penstock.stores.posted import by_value


def budget(unlisted: str, **entries: int) -> Budget:
    """One of keys, 100 tokens each."""
    return Budget("b", "key", "tokens", 100, "total", ZoneInfo("UTC"), unlisted=unlisted, entries=entries)


def test_a_tenant_pays_for_itself_and_its_edge() -> None:
    """A key without a slash is one value, as ever."""
    assert Payer(key="web").values("key") == ("web",)
    assert Payer(key="eu/web").values("key") == key_values("eu/web") == ("eu", "eu/web")
    assert Payer(key="eu/a/b").values("key") == ("eu", "eu/a/b")


@pytest.mark.parametrize(("unlisted", "stranger"), [("default", 100), ("deny", 0)])
def test_a_tenant_has_its_edges_limit_unless_it_has_one(unlisted: str, stranger: int) -> None:
    """An edge that is listed is not denied its tenants; one that is not is."""
    rules = budget(unlisted, **{"eu": 500, "eu/web": 7})
    limits = [rules.limit_of(value) for value in ("eu", "eu/web", "eu/app", "us/app", "us")]
    assert limits == [500, 7, 500, stranger, stranger]


def test_what_is_read_back_counts_for_both_too() -> None:
    """After a start the accounts are those of before."""
    buckets = [Posted("eu/web", 3, 30), Posted("eu/app", 4, 40), Posted("eu", 5, 50), Posted("us", 1, 10)]
    assert by_value("key", buckets) == [
        Posted("eu", 12, 120), Posted("eu/app", 4, 40), Posted("eu/web", 3, 30), Posted("us", 1, 10),
    ]  # fmt: skip
    assert by_value("team", [Posted("a/b", 1, 1)]) == [Posted("a/b", 1, 1)]
