"""The ledger that forgets: for tests, the demo and the lab. It grows as long as the process lives."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import TypeVar

from penstock.core.records import OPEN, AttemptRow, ExchangeRow, LedgerRow, ShareRow
from penstock.ports.ledger import Billed, Overview, OverviewQuery, Posted, PostedQuery, SpendQuery, SpendRow
from penstock.stores.overview import overview, speeds, spend_queries, times
from penstock.stores.posted import by_value, check_scopes
from penstock.stores.rows import tags_text
from penstock.stores.spend import QUARTER_S, check_query, grouped

Row = TypeVar("Row", ExchangeRow, AttemptRow)


class MemoryLedger:
    """The ports Ledger and LedgerReader over dicts."""

    def __init__(self) -> None:
        self.healthy = True
        self._exchanges: dict[str, ExchangeRow] = {}
        self._attempts: defaultdict[str, dict[str, AttemptRow]] = defaultdict(dict)
        self._shares: defaultdict[str, dict[tuple[str, str], ShareRow]] = defaultdict(dict)
        self._open: dict[str, None] = {}
        """Exchanges that are open or have an open attempt, or were and had: ``open_rows`` looks again."""

    # --- the port Ledger

    def append(self, rows: Iterable[LedgerRow]) -> None:
        """Keep the rows; one that is there already stays, unless it is open."""
        for row in rows:
            if isinstance(row, ExchangeRow):
                self._keep(self._exchanges, row.id, row)
            elif isinstance(row, AttemptRow):
                self._keep(self._attempts[row.exchange_id], row.exchange_id, row)
            else:
                self._shares[row.exchange_id].setdefault((row.attempt_id, row.lever), row)

    async def flush(self) -> None:
        """There is nothing more durable than this."""

    async def open_rows(self) -> Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]]:
        """Every exchange that is open, or has an open attempt, with all its attempts; oldest first."""
        self._open = {id_: None for id_ in self._open if self._is_open(id_)}
        exchanges = sorted((self._exchanges[id_] for id_ in self._open), key=lambda row: (row.at, row.id))
        return [(exchange, self._attempts_of(exchange.id)) for exchange in exchanges]

    async def posted(self, queries: Sequence[PostedQuery], *, excluding: Sequence[str]) -> Sequence[Sequence[Posted]]:
        """What attempts were charged, for each query. Raises StoreError for an unknown scope."""
        check_scopes(queries)
        excluded = frozenset(excluding)
        return [by_value(query.scope, self._charges(*query, excluded)) for query in queries]

    # --- the port LedgerReader

    async def spend(self, query: SpendQuery) -> tuple[Sequence[SpendRow], SpendRow]:
        """The groups and their total. Raises StoreError for an unknown grouping or zone."""
        check_query(query)
        return grouped(query, self._buckets(query))

    async def overview(self, query: OverviewQuery) -> Overview:
        """Several groupings over one span, and how it went. Raises as ``spend`` does."""
        asked = spend_queries(query)
        spend = [grouped(each, self._buckets(each)) for each in asked]
        ended = list(self._ended(query.since, query.until))
        return overview(asked, spend, speeds(times(ended)), Counter(row.outcome for row in ended).items())

    async def billed(self, since: float, until: float) -> Billed:
        """For the calls that have ended of exchanges that arrived then."""
        arrived = [row.id for row in self._exchanges.values() if since <= row.at < until]
        ended = [each for id_ in arrived for each in self._attempts_of(id_) if each.outcome != OPEN]
        calls = [Billed(each.usage, each.charged_book_nano or 0) for each in ended]
        return reduce(Billed.plus, calls, Billed())

    async def exchange(self, exchange_id: str) -> Sequence[LedgerRow]:
        """Every row of one exchange."""
        row = self._exchanges.get(exchange_id)
        shares = sorted(self._shares_of(exchange_id), key=lambda share: (share.attempt_id, share.lever))
        return [*([row] if row else []), *self._attempts_of(exchange_id), *shares]

    async def attempts(self, ids: Sequence[str]) -> Sequence[AttemptRow]:
        """Those of these ids that there are."""
        return [row for made in self._attempts.values() for id_, row in made.items() if id_ in ids]

    # --- within

    def _keep(self, kept: dict[str, Row], exchange_id: str, row: Row) -> None:
        before = kept.get(row.id)
        if before is None or before.outcome == OPEN:
            kept[row.id] = row
        if row.outcome == OPEN:
            self._open[exchange_id] = None

    def _is_open(self, exchange_id: str) -> bool:
        exchange = self._exchanges.get(exchange_id)
        attempts = self._attempts_of(exchange_id)
        return exchange is not None and OPEN in (exchange.outcome, *(attempt.outcome for attempt in attempts))

    def _attempts_of(self, exchange_id: str) -> list[AttemptRow]:
        attempts = self._attempts.get(exchange_id, {}).values()
        return sorted(attempts, key=lambda attempt: (attempt.started_at, attempt.id))

    def _shares_of(self, exchange_id: str) -> Iterable[ShareRow]:
        return self._shares.get(exchange_id, {}).values()

    def _charges(self, scope: str, since: float, until: float, excluded: frozenset[str]) -> Iterator[Posted]:
        for exchange in self._exchanges.values():
            value = self._scope_value(scope, exchange)
            for attempt in self._attempts_of(exchange.id):
                within = since <= attempt.started_at < until
                if within and attempt.outcome != OPEN and attempt.id not in excluded:
                    yield Posted(value, self._charge(attempt), attempt.usage.total)

    def _charge(self, attempt: AttemptRow) -> int:
        shares = self._shares_of(attempt.exchange_id)
        return sum(share.amount_nano for share in shares if share.attempt_id == attempt.id)

    @staticmethod
    def _scope_value(scope: str, row: ExchangeRow) -> str:
        """Raw, by the rules of ``sql/ledger.sql``."""
        values = {"global": "", "team": row.team, "key": row.key_name, "user": row.user, "model": row.model}
        return tags_text(row.tags) if scope == "tag" else values[scope]

    def _buckets(self, query: SpendQuery) -> Iterator[SpendRow]:
        return (self._bucket(query.by, row) for row in self._ended(query.since, query.until))

    def _ended(self, since: float, until: float) -> Iterator[ExchangeRow]:
        return (row for row in self._exchanges.values() if row.outcome != OPEN and since <= row.at < until)

    def _bucket(self, by: str, row: ExchangeRow) -> SpendRow:
        """One exchange, by the rules of ``sql/ledger.sql``."""
        cost, baseline = row.cost_nano, row.baseline_nano
        failed = [attempt for attempt in self._attempts_of(row.id) if attempt.outcome not in ("ok", OPEN)]
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
            avoided_nano=row.avoided_nano or 0,
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
