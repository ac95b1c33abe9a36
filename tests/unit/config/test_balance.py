"""The settings ``providers.NAME.balance`` and ``alerts.tokens_per_day``."""

from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.configs import built_in, loaded, mistakes

PROVIDER = "providers: {{p: {{kind: {kind}, api_key: k, balance: {balance}}}}}\n"


def test_nobody_is_asked_and_nothing_is_too_much_by_default() -> None:
    """Both have to be said."""
    settings = built_in({"DEEPSEEK_API_KEY": "k"})
    assert settings.providers["deepseek"].balance_every_s == 0
    assert settings.alerts.tokens_per_day is None


def test_what_is_said_is_taken(tmp_path: Path) -> None:
    """With ten minutes where only the limit is said."""
    text = PROVIDER.format(kind="deepseek", balance="{low: 99.5}") + "alerts: {tokens_per_day: 5000000}\n"
    settings = loaded(text, tmp_path)
    provider = settings.providers["p"]
    assert (provider.balance_every_s, provider.balance_low) == (600.0, Decimal("99.5"))
    assert settings.alerts.tokens_per_day == 5_000_000


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (PROVIDER.format(kind="openai", balance="{}"), "is for kinds that tell what an account holds: deepseek"),
        (PROVIDER.format(kind="deepseek", balance="{every: 0s}"), "too small"),
        (PROVIDER.format(kind="deepseek", balance="{low: -1}"), "-1"),
        ("alerts: {tokens_per_day: 0}\n", "too small"),
    ],
)
def test_a_mistake_is_named(text: str, mistake: str, tmp_path: Path) -> None:
    """One line."""
    (line,) = mistakes(text, tmp_path)
    assert mistake in line
