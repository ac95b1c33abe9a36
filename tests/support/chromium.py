"""A real browser without a window, driven over a pipe: what a page asks for, complains of, and looks like.

It speaks the Chrome DevTools protocol: JSON that ends with a zero byte, on the browser's descriptors 3 and 4.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import pytest

PATIENT_S: Final = 120.0
"""A browser on a busy machine takes long to start; the wait ends with its answer."""
COMPLAINTS: Final = (
    "Runtime.consoleAPICalled",
    "Runtime.exceptionThrown",
    "Log.entryAdded",
    "Page.javascriptDialogOpening",
)
_FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe", "about:blank",
)  # fmt: skip


@dataclass
class Chromium:
    """One tab."""

    write_to: int
    read_from: int
    events: list[dict[str, Any]] = field(default_factory=list)
    _session: str | None = None
    _number: int = 0
    _unread: bytes = b""

    def attach(self) -> Self:
        """Make the tab and listen to everything it says."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def show(self, url: str, *, width: int = 1040, scheme: str = "light", media: str = "screen") -> None:
        """Load it, in a window of that width; ``scheme`` is light or dark. Forgets what was said before."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    @property
    def asked_for(self) -> Sequence[str]:
        """The addresses it has requested since ``show``."""
        return [
            each["params"]["request"]["url"] for each in self.events if each["method"] == "Network.requestWillBeSent"
        ]

    @property
    def complaints(self) -> Sequence[dict[str, Any]]:
        """What stands in its console, what it threw, and what it asked the user."""
        return [event["params"] for event in self.events if event["method"] in COMPLAINTS]

    def evaluate(self, expression: str) -> Any:
        """Its value in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self) -> bytes:
        """All of the page, as a PNG."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    def call(self, method: str, **parameters: Any) -> Any:
        """The answer to one command; what is said meanwhile goes to ``events``."""
        self._number += 1
        session = {} if self._session is None else {"sessionId": self._session}
        command = {"id": self._number, "method": method, "params": parameters, **session}
        os.write(self.write_to, json.dumps(command).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._number:
                assert "error" not in said, (method, said)
                return said["result"]
            if "method" in said:
                self.events.append(said)

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENT_S
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self.read_from], [], [], max(0.0, deadline - time.monotonic()))
            read = os.read(self.read_from, 1 << 20) if ready else b""
            assert read, "the browser says nothing"
            self._unread += read
        said, _, self._unread = self._unread.partition(b"\0")
        found: dict[str, Any] = json.loads(said)
        return found


@contextmanager
def chromium(home: Path) -> Iterator[Chromium]:
    """A browser with its profile in ``home``; skips where none is installed."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: apt install chromium")
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    script = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
    words = ["bash", "-c", script, program, f"--user-data-dir={home}", *_FLAGS]
    environment = {**os.environ, "HOME": str(home)}
    with subprocess.Popen(
        words, pass_fds=(theirs_in, theirs_out), env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Chromium(ours_out, ours_in).attach()
        finally:
            process.kill()
            os.close(ours_out)
            os.close(ours_in)
