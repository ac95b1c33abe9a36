"""The ledger as a plain model: what any store must say after the same rows."""

from collections.abc import Iterable, Sequence

from penstock.core.budget import Payer
from penstock.core.records import OPEN, AttemptRow, ExchangeRow, LedgerRow, ShareRow
from penstock.ports.ledger import Posted


class LedgerModel:
    """Three dicts, and the one rule of writing over."""

    def __init__(self, rows: Iterable[LedgerRow] = ()) -> None:
        self.exchanges: dict[str, ExchangeRow] = {}
        self.attempts: dict[str, AttemptRow] = {}
        self.shares: dict[tuple[str, str, str], ShareRow] = {}
        self.append(rows)

    def append(self, rows: Iterable[LedgerRow]) -> None:
        """What is settled, and every share, stays as it is."""
        for row in rows:
            if isinstance(row, ShareRow):
                self.shares.setdefault((row.exchange_id, row.attempt_id, row.lever), row)
            elif isinstance(row, ExchangeRow):
                if row.id not in self.exchanges or self.exchanges[row.id].outcome == OPEN:
                    self.exchanges[row.id] = row
            elif row.id not in self.attempts or self.attempts[row.id].outcome == OPEN:
                self.attempts[row.id] = row

    def attempts_of(self, exchange_id: str) -> list[AttemptRow]:
        """Of one exchange, in their order."""
        mine = [attempt for attempt in self.attempts.values() if attempt.exchange_id == exchange_id]
        return sorted(mine, key=lambda attempt: (attempt.started_at, attempt.id))

    def exchange(self, exchange_id: str) -> list[LedgerRow]:
        """Every row of one exchange."""
        head = [self.exchanges[exchange_id]] if exchange_id in self.exchanges else []
        shares = [self.shares[key] for key in sorted(self.shares) if key[0] == exchange_id]
        return [*head, *self.attempts_of(exchange_id), *shares]

    def open_rows(self) -> list[tuple[ExchangeRow, list[AttemptRow]]]:
        """What is open, or has something open, oldest first."""
        pairs = [(exchange, self.attempts_of(exchange.id)) for exchange in self.exchanges.values()]
        found = [pair for pair in pairs if OPEN in (pair[0].outcome, *(attempt.outcome for attempt in pair[1]))]
        return sorted(found, key=lambda pair: (pair[0].at, pair[0].id))

    def posted(self, scope: str, since: float, until: float, excluding: Sequence[str] = ()) -> list[Posted]:
        """What attempts dispatched in [since, until) were charged, straight from the words of the contract."""
        sums: dict[str, list[int]] = {}
        for attempt in self.attempts.values():
            known = attempt.exchange_id in self.exchanges and attempt.id not in excluding
            if known and attempt.outcome != OPEN and since <= attempt.started_at < until:
                for value in payer_of(self.exchanges[attempt.exchange_id]).values(scope):
                    sums.setdefault(value, [0, 0])
                    sums[value][0] += self._charge(attempt)
                    sums[value][1] += attempt.usage.total
        return [Posted(value, *sums[value]) for value in sorted(sums)]

    def _charge(self, attempt: AttemptRow) -> int:
        key = (attempt.exchange_id, attempt.id)
        return sum(share.amount_nano for name, share in self.shares.items() if name[:2] == key)


def payer_of(row: ExchangeRow) -> Payer:
    """Whose account it was."""
    tags = tuple(f"{name}={value}" for name, value in row.tags.items())
    return Payer(row.team, row.key_name, row.user, row.model, tags)
