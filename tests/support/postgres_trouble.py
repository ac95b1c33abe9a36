"""PostgreSQL goes away under load, a gateway dies meanwhile, and both come back: what of it is in the ledger."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.support.bars import Bar
from tests.support.gateway_process import wait_for
from tests.support.many_nodes import House, Load, Node, Said, percentile

MB: Final = 1_000_000
BURIED_S: Final = 40.0
"""What a dead node left open is settled when it has been dead for 20 s."""
USERS: Final = 5


@dataclass
class Outage:
    """What was said, and what the nodes came to."""

    said: list[Said] = field(default_factory=list)
    down_at: float = 0.0
    up_at: float = 0.0
    died_at: float = 0.0
    grown_bytes: int = 0
    """Of the node that lived, the most that it had in memory more than before."""
    logged: int = 0
    started_again: bool = False
    """The node that died came up while the server was away."""

    def between(self, since: float, until: float, node: int) -> list[Said]:
        """What was asked of a node in that time."""
        return [each for each in self.said if each.node == node and since <= each.at < until]


class Loss:
    """A house whose PostgreSQL may be killed: the first node dies, the others live."""

    def __init__(self, house: House, nodes: Sequence[Node], key: str) -> None:
        """``key``: of the client."""
        self.house = house
        self.nodes = nodes
        self._key = key

    async def suffer(self, *, rate: float, before_s: float, down_s: float, after_s: float) -> Outage:
        """Load on all of them throughout."""
        outage, postgres, (mortal, *others) = Outage(), self.house.postgres, self.nodes
        async with Load(self.house, self.nodes, rate=rate, questions=self._question) as load:
            await asyncio.sleep(before_s)
            began, logged = [node.rss_bytes() for node in others], self._logged()
            await asyncio.to_thread(postgres.kill)
            outage.down_at = time.monotonic()
            await asyncio.sleep(down_s / 2)
            mortal.kill()
            outage.died_at = time.monotonic()
            await asyncio.sleep(down_s / 2)
            outage.grown_bytes = max(node.rss_bytes() - then for node, then in zip(others, began, strict=True))
            postgres.start()  # here: it ends with the thread that starts it
            outage.up_at = time.monotonic()
            outage.logged = self._logged() - logged
            await asyncio.to_thread(mortal.start)
            await asyncio.sleep(after_s)
        outage.said = load.said
        return outage

    def _question(self, number: int) -> dict[str, Any]:
        fields = {"max_tokens": 4, "user": f"user-{number % USERS}"}
        return {"key": self._key, "fields": fields, "gap_ms": 20}

    def _logged(self) -> int:
        return sum((node.directory / "stderr").stat().st_size for node in self.nodes)

    def bars(self, outage: Outage) -> list[Bar]:
        """What it is held to."""
        wait_for(lambda: not self.house.open_rows(), "what the dead left to be settled", BURIED_S)
        self.house.settles(BURIED_S)
        figures = self.house.check()
        made = self.house.books().by_marker
        answered = [each for each in outage.said if each.told.answered and each.told.status == 200]
        lost = [each for each in answered if not made.get(each.told.question.marker)]
        while_down = outage.between(outage.down_at, outage.died_at - 0.5, 0)
        for node in range(1, len(self.nodes)):
            while_down += outage.between(outage.down_at, outage.up_at, node)
        failed = Counter(each.told.status for each in while_down if each.told.status != 200)
        spools = [path for node in self.nodes for path in node.directory.glob("*.spool")]
        return [
            Bar("asked while it was away", len(while_down), least=1),
            Bar(f"of them not answered {dict(failed)}", sum(failed.values()), most=0),
            Bar("P99 while it was away, ms", 1000 * percentile([each.took_s for each in while_down], 0.99)),
            Bar("answered, and not in the ledger", len(lost), most=0),
            Bar("attempts", figures.attempts, least=1),
            Bar("of them estimated", figures.estimated),
            Bar("growth in memory, MB", outage.grown_bytes / MB, most=50),
            Bar("log per request, bytes", outage.logged / max(1, len(while_down)), most=1024),
            Bar("spools left", len(spools), most=0),
        ]
