"""The answer to ``GET /user/balance``: read exactly, or called no answer."""

import pytest

from penstock.core.reconcile import Balance
from penstock.errors import BadAnswer
from penstock.providers.balance import read_balance

BOTH = b"""{"is_available": true, "balance_infos": [
  {"currency": "CNY", "total_balance": "110.00", "granted_balance": "10.00", "topped_up_balance": "100.00"},
  {"currency": "USD", "total_balance": "-0.25", "granted_balance": "0.00", "topped_up_balance": "-0.25"}]}"""


def test_balances_are_exact() -> None:
    """A balance per currency, also below zero."""
    assert read_balance("deepseek", BOTH, 7.0) == [
        Balance("deepseek", "CNY", 7.0, 110 * 10**9, 10 * 10**9, 100 * 10**9),
        Balance("deepseek", "USD", 7.0, -25 * 10**7, 0, -25 * 10**7),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"balance_infos": []}',
        b'{"balance_infos": null}',
        b'{"balance_infos": [{"currency": "CNY"}]}',
        b'{"balance_infos": [{"currency": "yuan", "total_balance": "1"}]}',
        b'{"balance_infos": [{"currency": "CNY", "total_balance": 1.5}]}',
        b'{"balance_infos": [{"currency": "CNY", "total_balance": "NaN"}]}',
        b'{"balance_infos": [{"currency": "CNY", "total_balance": "1"}, {"currency": "CNY", "total_balance": "2"}]}',
    ],
)
def test_what_is_no_balance_is_said_to_be_none(body: bytes) -> None:
    """Nothing is guessed from half an answer."""
    with pytest.raises(BadAnswer, match="did not answer with"):
        read_balance("deepseek", body, 7.0)
