"""The ledger's rows as tuples, in the order of the columns in ``sql/ledger.sql``, and back.

Written once per row of traffic: plain attribute reads, and integers for booleans because the driver binds them faster.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.core.records import AttemptRow, ExchangeRow, ShareRow
from penstock.core.usage import Usage

Values = tuple[Any, ...]

_encode = msgspec.json.Encoder(order="sorted").encode
_decode_tags = msgspec.json.Decoder(dict[str, str]).decode


def tags_text(tags: dict[str, str]) -> str:
    """Tags as the ledger keeps them: equal sets are equal texts, none is empty."""
    return _encode(tags).decode() if tags else ""


def read_tags(text: str) -> dict[str, str]:
    """The tags behind ``tags_text``."""
    return _decode_tags(text) if text else {}


def exchange_values(row: ExchangeRow) -> Values:
    """As ``insert_exchange`` takes them."""
    return (
        row.at, row.id, row.endpoint, row.model, row.deployment, row.key_id, row.key_name, row.team, row.user,
        tags_text(row.tags), row.outcome, row.status, row.cache, 1 if row.streamed else 0, row.attempts, *row.usage,
        1 if row.estimated else 0, row.baseline_nano, row.cost_nano, row.currency, row.duration_s, row.first_byte_s,
        row.overhead_s, row.degraded, row.avoided_nano, row.owner, row.parent,
    )  # fmt: skip


def attempt_values(row: AttemptRow) -> Values:
    """As ``insert_attempt`` takes them."""
    return (
        row.exchange_id, row.id, row.started_at, row.ended_at, row.provider, row.deployment, row.region, row.outcome,
        row.status, row.upstream_id, *row.usage, 1 if row.estimated else 0, row.charged_nano, row.currency,
        row.fx_rate, row.charged_book_nano, row.price_source, row.held_nano, row.held_tokens, 1 if row.stops else 0,
        1 if row.overrun else 0,
    )  # fmt: skip


def share_values(row: ShareRow) -> Values:
    """As ``insert_share`` takes them."""
    return (row.exchange_id, row.attempt_id, row.lever, row.amount_nano)


def read_exchange(values: Sequence[Any]) -> ExchangeRow:
    """The row behind ``exchange_values``."""
    at, id_, endpoint, model, deployment, key_id, key_name, team, user, tags, outcome, status = values[:12]
    cache, streamed, attempts = values[12:15]
    estimated, baseline_nano, cost_nano, currency, duration_s, first_byte_s, overhead_s = values[20:27]
    degraded, avoided_nano, owner, parent = values[27:]
    return ExchangeRow(
        at=at, id=id_, endpoint=endpoint, model=model, deployment=deployment, key_id=key_id, key_name=key_name,
        team=team, user=user, tags=read_tags(tags), outcome=outcome, status=status, cache=cache,
        streamed=bool(streamed), attempts=attempts, usage=Usage(*values[15:20]), estimated=bool(estimated),
        baseline_nano=baseline_nano, cost_nano=cost_nano, currency=currency, duration_s=duration_s,
        first_byte_s=first_byte_s, overhead_s=overhead_s, degraded=degraded, avoided_nano=avoided_nano, owner=owner,
        parent=parent,
    )  # fmt: skip


def read_attempt(values: Sequence[Any]) -> AttemptRow:
    """The row behind ``attempt_values``."""
    exchange_id, id_, started_at, ended_at, provider, deployment, region, outcome, status, upstream_id = values[:10]
    estimated, charged_nano, currency, fx_rate, charged_book_nano, price_source = values[15:21]
    held_nano, held_tokens, stops, overrun = values[21:]
    return AttemptRow(
        id=id_, exchange_id=exchange_id, started_at=started_at, ended_at=ended_at, provider=provider,
        deployment=deployment, region=region, outcome=outcome, status=status, upstream_id=upstream_id,
        usage=Usage(*values[10:15]), estimated=bool(estimated), charged_nano=charged_nano, currency=currency,
        fx_rate=fx_rate, charged_book_nano=charged_book_nano, price_source=price_source, held_nano=held_nano,
        held_tokens=held_tokens, stops=bool(stops), overrun=bool(overrun),
    )  # fmt: skip


def read_share(values: Sequence[Any]) -> ShareRow:
    """The row behind ``share_values``."""
    exchange_id, attempt_id, lever, amount_nano = values
    return ShareRow(attempt_id=attempt_id, exchange_id=exchange_id, amount_nano=amount_nano, lever=lever)
