"""How long a gateway takes from its start until ``/readyz`` says 200: ``python bench/ready.py [STARTS]``.

What an autoscaler waits for beside its own delays. Each start has a store of its own; built-in settings otherwise. The
look at ``/readyz`` comes every 5 ms.
"""

import http.client
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PENSTOCK: Final = str(Path(sys.executable).with_name("penstock"))
LOOK_S: Final = 0.005
PATIENCE_S: Final = 60.0
STARTS: Final = 15


def measure(directory: Path) -> tuple[float, float]:
    """Seconds from the start of a process to ready, and the CPU seconds that it took."""
    ports = [_free_port(), _free_port()]
    options = [f"--listen=127.0.0.1:{ports[0]}", f"--admin-listen=127.0.0.1:{ports[1]}"]
    began = time.monotonic()
    command = [PENSTOCK, "serve", *options]
    process = subprocess.Popen(command, cwd=directory, stderr=subprocess.DEVNULL)  # noqa: S603 - our own
    try:
        while not _is_ready(ports[1]):
            if process.poll() is not None or time.monotonic() - began > PATIENCE_S:
                raise SystemExit("it did not become ready")
            time.sleep(LOOK_S)
        took_s = time.monotonic() - began
        fields = Path(f"/proc/{process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return took_s, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main(arguments: Sequence[str]) -> None:
    """Print the least, the median and the most of some starts."""
    starts = int(arguments[0]) if arguments else STARTS
    with tempfile.TemporaryDirectory() as scratch:
        places = [Path(scratch, str(number)) for number in range(starts)]
        for place in places:
            place.mkdir()
        found = [measure(place) for place in places]
    for name, values in zip(("start to ready", "CPU until then"), zip(*found, strict=True), strict=True):
        least, middle, most = min(values), statistics.median(values), max(values)
        sys.stdout.write(f"{name}: {least:.2f} / {middle:.2f} / {most:.2f} s (min / median / max of {starts})\n")


if __name__ == "__main__":
    main(sys.argv[1:])
