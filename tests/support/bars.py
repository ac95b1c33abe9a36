"""Bars that a run is held to: a figure, and what it must at least or at most be.

Each has two bounds: the one of the bar, for ``make soak``, and one with slack for ``make test``, which runs beside
other work on small machines and must fail for our sake only.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from rich.console import Console
from rich.table import Table


class Bar(NamedTuple):
    """One figure. NaN meets nothing."""

    what: str
    got: float
    most: float | None = None
    least: float | None = None
    loose: float | None = None
    """In the place of ``most`` or ``least`` where the machine is busy; None = the same."""

    def holds(self, *, loosely: bool = False) -> bool:
        """Whether it is met."""
        if self.most is not None:
            return self.got <= (self.most if self.loose is None or not loosely else self.loose)
        if self.least is not None:
            return self.got >= (self.least if self.loose is None or not loosely else self.loose)
        return True

    @property
    def bound(self) -> str:
        """In words; "" = a figure to know, that is held to nothing."""
        if self.most is not None:
            return f"<= {self.most:.3g}"
        return "" if self.least is None else f">= {self.least:.3g}"


def missed(bars: Sequence[Bar], *, loosely: bool = False) -> list[str]:
    """Those that are not met, in words."""
    return [f"{bar.what}: {bar.got:.4g}, not {bar.bound}" for bar in bars if not bar.holds(loosely=loosely)]


def show(title: str, bars: Sequence[Bar], capsys: pytest.CaptureFixture[str]) -> None:
    """The figures, for people."""
    table = Table(title, "measured", "bar", "")
    for bar in bars:
        table.add_row(bar.what, f"{bar.got:.4g}", bar.bound, "" if bar.holds() else "missed")
    with capsys.disabled():
        Console(width=110).print("", table)
