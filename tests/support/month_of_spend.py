"""A ledger of some weeks, made by rule: two models, teams, keys, tags, all levers there are, failures, refusals."""

import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

from penstock.core.records import LedgerRow
from penstock.core.usage import Usage
from tests.support.ledger_rows import attempt_row, exchange_row, share_row

DAY_S: Final = 86_400.0
TEAMS: Final = ("search", "support", "assistants", "growth", "")
MODELS: Final = ("deepseek-flash", "deepseek-flash", "deepseek-flash", "deepseek-pro")
FEATURES: Final = ("faq", "summary", "rewrite", "sql")


def month_of_spend(until: float, days: int = 28, per_day: int = 30, seed: int = 6) -> Iterator[Sequence[LedgerRow]]:
    """The rows of each exchange, the last of them just before ``until``."""
    chance = random.Random(seed)  # noqa: S311 - the same rows each time, no secret
    for number in range(days * per_day):
        at = until - (days * per_day - number - chance.random()) * DAY_S / per_day
        busy = 0.4 if at // DAY_S % 7 in (2, 3) else 1.0
        if chance.random() < busy:
            yield _exchange(f"ex_{number:06}", at, chance)


def _exchange(id_: str, at: float, chance: random.Random) -> Sequence[LedgerRow]:
    model, team = chance.choice(MODELS), chance.choice(TEAMS)
    usage = Usage(chance.randint(4000, 180_000), chance.randint(0, 80_000), 0, chance.randint(1000, 50_000), 0)
    price = (8, 1, 24) if model.endswith("pro") else (2, 0, 8)
    baseline = (usage.input_miss * price[0] + usage.input_hit * price[1] + usage.output * price[2]) * 1000
    lever = chance.choices(("direct", "exact", "joined", "routing"), (55, 25, 6, 14))[0]
    seconds = chance.lognormvariate(1.2 if model.endswith("pro") else 0.3, 0.6)
    fields: dict[str, Any] = {
        "at": at, "model": model, "team": team, "key_id": f"key_{team}",
        "key_name": f"{team}-prod" if team else "notebook",
        "tags": {"feature": chance.choice(FEATURES)}, "usage": usage, "baseline_nano": baseline,
        "streamed": chance.random() < 0.6, "duration_s": seconds, "first_byte_s": seconds * 0.3, "cache": "miss",
    }  # fmt: skip
    if chance.random() < 0.02:
        refused: dict[str, Any] = {"usage": Usage(), "baseline_nano": 0, "avoided_nano": baseline, "status": 429}
        return [exchange_row(id_, **{**fields, **refused}, cost_nano=0, outcome="budget_exceeded")]
    if chance.random() < 0.02:
        return [exchange_row(id_, **{**fields, "baseline_nano": 0}, cost_nano=0, outcome="provider_busy", status=503)]
    if lever in ("exact", "joined"):
        quick = {"duration_s": 0.002 + seconds / 1000, "first_byte_s": 0.002} if lever == "exact" else {}
        row = exchange_row(id_, **{**fields, **quick, "cache": lever}, cost_nano=0)
        return [row, share_row("at_other", id_, 0, lever)]
    cost = baseline * 6 // 10 if lever == "routing" else baseline
    attempts = [attempt_row(f"at_{id_}", id_, started_at=at, usage=usage, charged_book_nano=cost)]
    if chance.random() < 0.03:
        wasted = baseline // 3
        attempts.append(
            attempt_row(f"at_{id_}x", id_, started_at=at, outcome="provider_timeout", charged_book_nano=wasted)
        )
        cost += wasted
    row = exchange_row(id_, **fields, cost_nano=cost, attempts=len(attempts))
    return [row, *attempts, share_row(attempts[0].id, id_, cost, lever)]
