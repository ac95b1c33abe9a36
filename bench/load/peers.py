"""The gateways that are measured: how each is started, where it listens, and what it is called in the table."""

import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.load.cases import CASES, NUMBER, chat
from bench.load.processes import GATEWAY_CORE, LOAD_CORE, ROOT, Process, output

HERE = Path(__file__).parent
PATH = "/v1/chat/completions"
UPSTREAM_URL = f"http://127.0.0.1:9100{PATH}"
BUDGETS = """
budgets:
  - {name: all, scope: global, limit: 1000000 CNY, window: month, timezone: Asia/Shanghai}
  - {name: per-key, scope: key, limit: 1000000 CNY, window: day, timezone: Asia/Shanghai}
  - {name: per-user, scope: user, limit: 1000000000000 tokens, window: day, timezone: Asia/Shanghai}
"""
LITELLM_DIRECTORY = ROOT / "build" / "litellm"


@dataclass(frozen=True, slots=True)
class Peer:
    """A gateway: ``start`` runs it in a directory of its own; ``ports`` may differ by case (else ``port``)."""

    name: str
    start: Callable[[Path], Process]
    version: Callable[[], str]
    port: int
    ports: Mapping[str, int] = field(default_factory=dict)
    connections: int = 64
    """Fewer for a slow one, so that what is in flight when the load ends does not weigh."""
    secs_factor: float = 1.0

    def url(self, case: str) -> str:
        """Where this case is asked."""
        return f"http://127.0.0.1:{self.ports.get(case, self.port)}{PATH}"


def start_upstream(directory: Path) -> Process:
    """The mock provider, on the load's core."""
    command = [sys.executable, "-m", "bench.load.upstream", "9100"]
    return Process(command, core=LOAD_CORE, log=directory / "upstream.log")


def _start_nginx(directory: Path) -> Process:
    shutil.copy(HERE / "nginx.conf", directory)
    user = ["-g", "user root;"] if os.geteuid() == 0 else []
    command = ["nginx", "-p", directory.as_posix(), "-c", "nginx.conf", "-e", "stderr", *user]
    return Process(command, core=GATEWAY_CORE, log=directory / "nginx.log", cwd=directory)


def _start_penstock(directory: Path) -> Process:
    shutil.copy(HERE / "penstock.yaml", directory)
    command = [_beside_python("penstock"), "serve", "-c", (directory / "penstock.yaml").as_posix()]
    return Process(command, core=GATEWAY_CORE, log=directory / "penstock.log", cwd=directory)


def _start_budgets(directory: Path) -> Process:
    """Penstock again, with three budgets that every request falls under and none is refused by."""
    config = (HERE / "penstock.yaml").read_text().replace(":9301", ":9501").replace(":9302", ":9502")
    (directory / "budgets.yaml").write_text(config.replace("bench.db", "budgets.db") + BUDGETS)
    command = [_beside_python("penstock"), "serve", "-c", (directory / "budgets.yaml").as_posix()]
    return Process(command, core=GATEWAY_CORE, log=directory / "budgets.log", cwd=directory)


def _start_litellm(directory: Path) -> Process:
    shutil.copy(HERE / "litellm.yaml", directory)
    command = [_litellm(), "--config", "litellm.yaml", "--host", "127.0.0.1", "--port", "9401", "--num_workers", "1"]
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    return Process(command, core=GATEWAY_CORE, log=directory / "litellm.log", cwd=directory, env=env)


def _beside_python(name: str) -> str:
    return Path(sys.executable).with_name(name).as_posix()


def _litellm() -> str:
    directory = Path(os.environ.get("LITELLM_DIRECTORY", LITELLM_DIRECTORY))
    return (directory / "bin" / "litellm").as_posix()


def _nginx_version() -> str:
    return output(["sh", "-c", "nginx -v 2>&1"], core=LOAD_CORE, timeout_s=10).strip().removeprefix("nginx version: ")


def _penstock_version() -> str:
    commit = output(["git", "rev-parse", "--short", "HEAD"], core=LOAD_CORE, timeout_s=10).strip()
    changed = output(["git", "status", "--porcelain", "src"], core=LOAD_CORE, timeout_s=10).strip()
    return f"penstock at commit {commit}" + (", with uncommitted changes" if changed else "")


def _litellm_version() -> str:
    python = Path(_litellm()).with_name("python").as_posix()
    code = "import importlib.metadata as m; print(m.version('litellm'))"
    return "litellm " + output([python, "-c", code], core=LOAD_CORE, timeout_s=30).strip()


PEERS = {
    peer.name: peer
    for peer in (
        Peer("nginx", _start_nginx, _nginx_version, 9201, ports={"ustream": 9202, "ttft": 9202, "hit": 9203}),
        Peer("penstock", _start_penstock, _penstock_version, 9301),
        Peer("budgets", _start_budgets, _penstock_version, 9501),
        Peer("litellm", _start_litellm, _litellm_version, 9401, connections=4, secs_factor=2.0),
    )
}


def await_answer(url: str, process: Process | None = None, *, bound_s: float = 120.0) -> None:
    """Return when ``url`` answers a chat request. Raises RuntimeError when it does not, with the end of its log."""
    data = chat("Are you there?").encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none"}
    stop = time.monotonic() + bound_s
    said = ""
    while time.monotonic() < stop and not (process and process.ended):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10):  # noqa: S310 (loopback)
                return
        except urllib.error.HTTPError as error:
            said = f"{error.code} {error.read(300)!r}"
        except OSError as error:
            said = repr(error)
        time.sleep(0.3)
    log = process.log.read_text()[-1500:] if process else ""
    raise RuntimeError(f"{url} does not answer: {said}\n{log}")


def check_cache(peer: Peer) -> None:
    """See that a repeat is a hit and a new request none, where the peer says so. Raises RuntimeError."""
    if peer.name != "penstock":
        return
    unique = CASES["uniq"].body.replace(NUMBER, f"probe {time.time_ns()}")
    said = [cache_header(peer.url("uniq"), unique) for _ in range(2)]
    if said != ["miss", "exact"]:
        raise RuntimeError(f"the exact cache is not on: {said}")


def cache_header(url: str, body: str) -> str | None:
    """What Penstock says of its cache."""
    headers = {"Content-Type": "application/json"}
    asked = urllib.request.Request(url, body.encode(), headers)  # noqa: S310 (loopback)
    with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 (loopback)
        said: str | None = answer.headers["x-penstock-cache"]
        return said
