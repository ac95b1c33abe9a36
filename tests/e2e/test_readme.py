"""What the README says to type works as it stands there."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.support.gateway_process import PENSTOCK, environment, free_ports, wait_for

pytestmark = pytest.mark.e2e

README = Path(__file__).resolve().parents[2] / "README.md"
PATIENCE_S = 30.0
OURS = "http://127.0.0.1:8787/v1/chat/completions"


def commands() -> list[str]:
    """The ``sh`` blocks of the README that ask the gateway something."""
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [block for block in blocks if f"curl {OURS}" in block.replace("-s ", "").replace("-N ", "")]


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Of a gateway that was started with nothing at all: no config, no key."""
    port, admin = free_ports()
    command = [PENSTOCK, "serve", "--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{admin}"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: process.poll() is not None or _is_ready(admin))
        yield port
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def _is_ready(admin: int) -> bool:
    connection = HTTPConnection("127.0.0.1", admin, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_the_curl_answers(port: int) -> None:
    """Typed as it stands there, but for the port, it gets an answer from a gateway that nobody configured."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    (block,) = commands()
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", block.replace("127.0.0.1:8787", f"127.0.0.1:{port}")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"choices"' in done.stdout, done.stdout
