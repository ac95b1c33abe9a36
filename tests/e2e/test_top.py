"""``penstock top`` beside a real server, through a pipe and on a terminal."""

import os
import pty
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.gateway_process import PENSTOCK, GatewayProcess, gateway_process, wait_for
from tests.support.plain_gateway import ask, plain_config
from tests.support.upstream import Upstream

pytestmark = pytest.mark.e2e

SHOWN, HIDDEN = b"\x1b[?1049h", b"\x1b[?1049l"
"""The terminal's other screen comes, and goes."""


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self._file = pty.fork()
        if not self.pid:
            os.execve(PENSTOCK, [PENSTOCK, *arguments], {"TERM": "xterm", "COLUMNS": "100", "LINES": "24"})  # noqa: S606 - our own
        self.seen = b""
        self._code = -1
        os.set_blocking(self._file, False)

    def shows(self, text: bytes) -> bool:
        """Whether that has stood there."""
        with suppress(OSError):  # nothing more now, or at all
            while read := os.read(self._file, 1 << 16):
                self.seen += read
        return text in self.seen

    def end(self, number: signal.Signals) -> int:
        """Its exit code after that signal. It is read on meanwhile: whom nobody reads cannot end."""
        os.kill(self.pid, number)
        wait_for(self._has_ended, "its end")
        return self._code

    def close(self) -> None:
        """End it, if it has not."""
        if not self._has_ended():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._file)

    def _has_ended(self) -> bool:
        self.shows(b"")
        if self._code < 0:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else self._code
            self.shows(b"")
        return self._code >= 0


@contextmanager
def terminal(gateway: GatewayProcess) -> Iterator[Terminal]:
    """``top`` on it."""
    shown = Terminal("top", "-c", str(gateway.config), "--interval", "200ms")
    try:
        yield shown
    finally:
        shown.close()


@pytest.fixture
def serving(up: Upstream, tmp_path: Path) -> Iterator[GatewayProcess]:
    """One that serves, and has answered three requests, one of them from its cache."""
    with gateway_process(tmp_path, **plain_config(up)) as gateway:
        wait_for(lambda: "penstock_requests_per_second" in gateway.metrics())
        for text in ("a", "b", "a"):
            assert ask(gateway, text).status_code == 200
        yield gateway


def test_one_frame_through_a_pipe(serving: GatewayProcess) -> None:
    """What was done in the last seconds, and every deployment; as JSON too."""
    wait_for(lambda: serving.json("top")["total"]["last"]["requests_per_s"] > 0, "a look at what was done")
    printed = serving.command("top", "--once")
    row = next(line for line in printed.splitlines() if line.startswith("up/"))
    assert re.search(r" up +0/\d+ ", row)
    assert "hits 33.3 %" in printed
    report = serving.json("top")
    assert report["total"]["last"]["requests_per_s"] > 0
    assert [row["calls"] for row in report["rows"]] == [2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_terminal_sees_it_live_and_gets_its_screen_back(serving: GatewayProcess, number: signal.Signals) -> None:
    """Frame after frame; while the server is gone it says so and goes on; a signal ends it as it should."""
    with terminal(serving) as shown:
        wait_for(lambda: shown.shows(b"hits "), "a frame")
        frames = shown.seen.count(b"deployment")
        wait_for(lambda: shown.shows(b"") and shown.seen.count(b"deployment") > frames + 1, "more frames")
        assert serving.stop() == 0
        wait_for(lambda: shown.shows(b"no server answers"), "what is the matter")
        serving.start()
        assert shown.end(number) == 0
        assert SHOWN in shown.seen
        assert shown.seen.rstrip().endswith(HIDDEN)
