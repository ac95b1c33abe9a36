"""The OpenTelemetry collector of the config, over HTTP: compressed, which every server of OTLP takes."""

import asyncio
import gzip
from collections.abc import Callable
from typing import Final

from penstock.config.settings import TelemetrySettings
from penstock.errors import Unreachable
from penstock.ports.clock import Clock
from penstock.ports.providers import Transport
from penstock.ports.telemetry import CollectorAnswer
from penstock.providers.outside import Outsider
from penstock.providers.refusals import retry_after_s

TIMEOUT_S: Final = 5.0
_MOST_ANSWER: Final = 64 * 1024
_LEVEL: Final = 1
"""Of compression: the quickest; JSON of spans is a tenth of its size then."""


class HttpCollector:
    """Whichever the settings name when something is posted."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        settings: Callable[[], TelemetrySettings],
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """``timeout_s``: of one post."""
        self._timeout_s = timeout_s
        self._outsider = Outsider("the telemetry collector", transport, clock)
        self._settings = settings

    async def post(self, path: str, body: bytes) -> CollectorAnswer:
        """Compressed in a thread: that takes milliseconds, and holds nobody up there. Raises UpstreamError."""
        packed = await asyncio.to_thread(gzip.compress, body, _LEVEL, mtime=0)
        telemetry = self._settings()
        if telemetry.otlp is None:
            raise Unreachable("there is no telemetry collector any more")
        headers = {name.lower(): value.reveal() for name, value in telemetry.headers.items()}
        answer = await self._outsider.post(
            f"{telemetry.otlp}{path}",
            packed,
            most_bytes=_MOST_ANSWER,
            timeout_s=self._timeout_s,
            headers={**headers, "content-encoding": "gzip"},
        )
        return CollectorAnswer(answer.status, answer.body, retry_after_s(answer.headers))
