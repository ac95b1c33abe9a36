"""The ledger that forgets: for tests, the demo and the lab. It grows as long as the process lives."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from penstock.core.records import AttemptRow, ExchangeRow, LedgerRow, ShareRow
from penstock.ports import SpendQuery, SpendRow
from penstock.stores.rows import tags_text
from penstock.stores.spend import QUARTER_S, check_query, grouped


class MemoryLedger:
    """The ports Ledger and LedgerReader over lists."""

    def __init__(self) -> None:
        self.healthy = True
        self._exchanges: dict[str, ExchangeRow] = {}
        self._attempts: defaultdict[str, dict[str, AttemptRow]] = defaultdict(dict)
        self._shares: defaultdict[str, dict[tuple[str, str], ShareRow]] = defaultdict(dict)

    def append(self, rows: Iterable[LedgerRow]) -> None:
        """Keep the rows; one that is there already stays."""
        for row in rows:
            if isinstance(row, ExchangeRow):
                self._exchanges.setdefault(row.id, row)
            elif isinstance(row, AttemptRow):
                self._attempts[row.exchange_id].setdefault(row.id, row)
            else:
                self._shares[row.exchange_id].setdefault((row.attempt_id, row.lever), row)

    async def flush(self) -> None:
        """There is nothing more durable than this."""

    async def spend(self, query: SpendQuery) -> tuple[Sequence[SpendRow], SpendRow]:
        """The groups and their total. Raises StoreError for an unknown grouping or zone."""
        check_query(query)
        return grouped(query, self._buckets(query))

    async def exchange(self, exchange_id: str) -> Sequence[LedgerRow]:
        """Every row of one exchange."""
        row = self._exchanges.get(exchange_id)
        attempts = sorted(self._attempts_of(exchange_id), key=lambda attempt: (attempt.started_at, attempt.id))
        shares = sorted(self._shares_of(exchange_id), key=lambda share: (share.attempt_id, share.lever))
        return [*([row] if row else []), *attempts, *shares]

    def _attempts_of(self, exchange_id: str) -> Iterable[AttemptRow]:
        return self._attempts.get(exchange_id, {}).values()

    def _shares_of(self, exchange_id: str) -> Iterable[ShareRow]:
        return self._shares.get(exchange_id, {}).values()

    def _buckets(self, query: SpendQuery) -> Iterator[SpendRow]:
        return (self._bucket(query.by, row) for row in self._exchanges.values() if query.since <= row.at < query.until)

    def _bucket(self, by: str, row: ExchangeRow) -> SpendRow:
        """One exchange, by the rules of ``sql/ledger.sql``."""
        cost, baseline = row.cost_nano, row.baseline_nano
        failed = [attempt for attempt in self._attempts_of(row.id) if attempt.outcome != "ok"]
        return SpendRow(
            group=self._group(by, row),
            requests=1,
            tokens=row.usage.total,
            cost_nano=cost or 0,
            baseline_nano=baseline or 0,
            saved_nano=0 if cost is None or baseline is None else baseline - cost,
            wasted_nano=sum(attempt.charged_book_nano or 0 for attempt in failed),
            unpriced=int(cost is None or baseline is None),
            errors=int(row.outcome != "ok"),
            currency=row.currency,
        )

    def _group(self, by: str, row: ExchangeRow) -> str:
        if by in ("hour", "day"):
            return str(int(row.at // QUARTER_S))
        if by == "tag":
            return tags_text(row.tags)
        if by == "key":
            return row.key_name or row.key_id
        if by == "lever":
            levers = {share.lever for share in self._shares_of(row.id)}
            return max(levers - {"direct"} or levers or {""})
        group: str = getattr(row, by)
        return group
