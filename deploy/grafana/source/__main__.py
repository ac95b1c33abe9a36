"""Write deploy/grafana/dashboards anew: ``make dashboards``."""

from pathlib import Path
from typing import Final

from deploy.grafana.source.board import Board
from deploy.grafana.source.budgets import budgets
from deploy.grafana.source.caches import caches
from deploy.grafana.source.fleet import fleet
from deploy.grafana.source.gateway import gateway
from deploy.grafana.source.overview import overview
from deploy.grafana.source.traffic import traffic

PLACE: Final = Path(__file__).parents[1] / "dashboards"


def boards() -> tuple[Board, ...]:
    """All dashboards, in the order of their links."""
    return overview(), traffic(), fleet(), caches(), budgets(), gateway()


def write(place: Path = PLACE) -> None:
    """One file each."""
    for board in boards():
        (place / f"{board.uid}.json").write_text(board.json(), "utf-8")


if __name__ == "__main__":
    write()
