"""An operator who never stops looking: the admin plane, asked again and again while something happens."""

import time
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self

from tests.support.gateway_process import GatewayProcess
from tests.support.metrics_text import Sample, samples

LOOK_S: Final = 0.1
PATHS: Final = ("/healthz", "/readyz", "/metrics")


class Watch:
    """Looks from a thread of its own until it is left."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.took_s: dict[str, list[float]] = {path: [] for path in PATHS}
        """How long each answer took; infinite where it was none."""
        self.seen: list[tuple[float, dict[Sample, float]]] = []
        """What ``/metrics`` said, and when, in monotonic seconds."""
        self._gateway = gateway
        self._over = Event()
        self._thread = Thread(target=self._run, name="watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def up(self, deployment: str, since: float, *, is_up: bool) -> float:
        """Seconds from ``since`` until it was first seen in, or out; infinite when it never was."""
        name = ("penstock_deployment_up", (("deployment", deployment),))
        return next((at - since for at, said in self.seen if at > since and said.get(name) == is_up), float("inf"))

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            for path, took_s in self.took_s.items():
                since = time.monotonic()
                status, body = self._gateway.admin(path)
                now = time.monotonic()
                took_s.append(now - since if status == 200 else float("inf"))
                if path == "/metrics":
                    self.seen.append((now, samples(body)))
