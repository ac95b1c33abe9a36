"""Whether the process lives, and whether it should be sent requests.

``/readyz`` says 200 while the data plane listens, the stores are open, and the ledger can be written or need not be
(``ledger.on_failure: answer``). It never asks a provider: that one of them is down must not take every gateway out of
the load balancer at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse


@dataclass(slots=True)
class Phase:
    """Where the process is in its life; ``serve`` moves it on."""

    listening: bool = False
    draining: bool = False

    @property
    def name(self) -> str:
        """starting, ready or draining."""
        if self.draining:
            return "draining"
        return "ready" if self.listening else "starting"


class Health:
    """The two questions of a supervisor."""

    def __init__(self, phase: Phase, recording: Callable[[], bool]) -> None:
        """``recording``: False while every request is refused because it could not be recorded."""
        self._phase = phase
        self._recording = recording

    async def healthz(self, _request: Request) -> JSONResponse:
        """Alive: this loop turns."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, _request: Request) -> JSONResponse:
        """Ready for requests."""
        name = self._phase.name
        if name == "ready" and not self._recording():
            name = "ledger unavailable"
        return JSONResponse({"status": name}, 200 if name == "ready" else 503)
