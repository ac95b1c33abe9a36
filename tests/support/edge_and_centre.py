"""Two gateways on loopback, processes both: an edge, the centre it asks, and behind that the provider with its bill.

with edge_and_centre(directory) as two:
    answer = two.ask("mk-1 say=3")
    ...
    two.centre.kill()
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2

from penstock.core.records import ExchangeRow
from tests.support.bill_provider import BillProvider, bill_provider
from tests.support.bill_provider_lines import PRICES, BilledCall
from tests.support.gateway_process import GatewayProcess, wait_for
from tests.support.invariants import Figures, check_money
from tests.support.invariants_books import Books, stored_rows

EDGE: Final = "edge-eu"
"""The name of the edge's key at the centre."""
RETRY: Final = {"attempts": 2, "backoff": "20ms", "budget": 1}
PATIENCE_S: Final = 30.0


class EdgeAndCentre:
    """Both of them, and their clients."""

    def __init__(self, directory: Path, bill: BillProvider) -> None:
        """``directory``: a piece of it for each."""
        self.bill = bill
        self.centre, self.edge = (_gateway(directory / name) for name in ("centre", "edge"))
        self._directory = directory
        self._key = ""
        self.keys: dict[str, str] = {}

    def start(self, **edge: Any) -> None:
        """Serve; ``edge``: sections of its config. A key of the edge's for each of two tenants."""
        up = {"kind": "openai", "base_url": self.bill.base_url, "messages_url": self.bill.base_url}
        self.centre.configure(
            server={"edges": [EDGE]},
            providers={"up": up | {"api_key": "sk-up", "prices": PRICES}},
            models={"m": {"deployments": [{"provider": "up", "model": "completes"}]}},
            retry=RETRY,
        )
        self.centre.start()
        self._key = self.centre.create_key(EDGE)
        self.edge.configure(**self.edge_config(**edge))
        self.edge.start()
        self.keys = {name: self.edge.create_key(name, "--team", "shop") for name in ("web", "app")}
        wait_for(self.offered, "the centre's models at the edge")

    def edge_config(self, **more: Any) -> dict[str, Any]:
        """The edge's: its centre, and nothing else."""
        centre = {"kind": "penstock", "base_url": self.centre.base_url, "api_key": self._key, "sync": "1s"}
        return {"providers": {"centre": centre}, "retry": RETRY, **more}

    def another_edge(self, name: str, **more: Any) -> GatewayProcess:
        """One more with the same key at the centre; it does not serve yet."""
        made = _gateway(self._directory / name)
        made.configure(**self.edge_config(**more))
        return made

    def offered(self) -> list[str]:
        """The models of the edge."""
        headers = {"authorization": f"Bearer {self.keys['web']}"}
        listed = httpx2.get(f"{self.edge.base_url}/models", headers=headers, timeout=PATIENCE_S).json()
        return [model["id"] for model in listed["data"]]

    def ask(
        self,
        text: str,
        key: str = "web",
        *,
        at: GatewayProcess | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> httpx2.Response:
        """Ask one question, at the edge unless it says where. ``more``: of the body."""
        marker = text.split(maxsplit=1)[0]
        own = {"authorization": f"Bearer {self.keys.get(key, key)}", "x-penstock-tags": f"marker={marker}"}
        body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
        url = f"{(at or self.edge).base_url}/chat/completions"
        return httpx2.post(url, json=body, headers=own | dict(headers or {}), timeout=PATIENCE_S)

    def rows(self, gateway: GatewayProcess) -> Books:
        """The ledger of one of them, as it is on its disk."""
        assert gateway.admin("/admin/spend")[0] == 200  # flushes the ledger
        return Books(stored_rows(gateway.store))

    def asked(self, gateway: GatewayProcess, text: str) -> list[ExchangeRow]:
        """What the ledger of one of them says of a question, by its marker."""
        found = self.rows(gateway).exchanges.values()
        return [row for row in found if row.tags["marker"] == text.split(maxsplit=1)[0]]

    def billed(self, text: str) -> list[BilledCall]:
        """What the provider bills for a question."""
        return [call for call in self.bill.calls() if call.marker == text.split(maxsplit=1)[0]]

    def check_money(self) -> Figures:
        """The centre's ledger is the provider's bill, the edge's holds nothing of it, and both add up."""
        edge, centre = self.rows(self.edge), self.rows(self.centre)
        check_money(edge)
        figures = check_money(Books(centre.rows, bill=self.bill.calls()))
        spent = [sum(row.cost_nano or 0 for row in books.exchanges.values()) for books in (edge, centre)]
        assert spent == [0, sum(call.cost_nano for call in self.bill.calls())]
        return figures


@contextmanager
def edge_and_centre(directory: Path, **edge: Any) -> Iterator[EdgeAndCentre]:
    """Both, and the provider, for as long as the block runs. ``edge``: sections of its config."""
    with bill_provider(directory / "bill.jsonl") as bill:
        two = EdgeAndCentre(directory, bill)
        try:
            two.start(**edge)
            yield two
            assert "Traceback" not in two.edge.stderr, two.edge.stderr
            assert "Traceback" not in two.centre.stderr, two.centre.stderr
        finally:
            two.edge.kill()
            two.centre.kill()


def _gateway(directory: Path) -> GatewayProcess:
    directory.mkdir()
    return GatewayProcess(directory)
