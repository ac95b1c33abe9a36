"""B12: PostgreSQL is away, and a gateway is killed meanwhile: nothing is lost, nothing is there twice. Scaled down."""

import asyncio
from pathlib import Path

import pytest

from tests.support.bars import missed, show
from tests.support.many_nodes import limit, many_nodes
from tests.support.postgres_trouble import Loss

pytestmark = pytest.mark.alone


def test_postgres_is_away_and_a_gateway_dies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Known keys are served from the spool; what a killed node had there, or open, is in the ledger, once."""
    budgets = [limit("all", "global", 100_000), limit("per-user", "user", 50_000)]
    with many_nodes(tmp_path, own_postgres=True, budgets=budgets) as house:
        first = house.node()
        key = first.create_key("known")
        first.start()
        loss = Loss(house, [first, *house.nodes(1)], key)
        bars = loss.bars(asyncio.run(loss.suffer(rate=40, before_s=1.0, down_s=6.0, after_s=1.0)))
        show("B12, scaled", bars, capsys)
        assert not missed(bars)
