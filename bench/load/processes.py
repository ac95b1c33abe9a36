"""Processes under measurement, as /proc shows them (Linux only)."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GATEWAY_CORE = "0"
LOAD_CORE = "1"

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class Process:
    """A process that we started on one core, with its children."""

    def __init__(
        self, command: Sequence[str], *, core: str, log: Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None
    ) -> None:
        """``log`` takes both outputs; ``env`` is added to ours."""
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 (commands of the benchmark's own peers)
                [*pinned(core), *command],
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.log = log

    @property
    def pid(self) -> int:
        """The root of the tree."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it is gone."""
        return self._process.poll() is not None

    def pause(self) -> None:
        """Stop the tree, so that it takes nothing from what is being measured."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the tree run again."""
        self._signal(signal.SIGCONT)

    def end(self, grace_s: float = 10.0) -> None:
        """SIGTERM, then SIGKILL to what is left of the tree."""
        pids = tree(self.pid)
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            for pid in pids:
                _kill(pid, signal.SIGKILL)
            self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        for pid in tree(self.pid):
            _kill(pid, number)


def pinned(core: str) -> tuple[str, ...]:
    """What keeps a command on one core."""
    return ("taskset", "-c", core)


def output(command: Sequence[str], *, core: str, timeout_s: float) -> str:
    """Run a command of the harness to its end; its standard output. Raises RuntimeError with what it said instead."""
    done = subprocess.run(  # noqa: S603 (commands of the benchmark itself)
        [*pinned(core), *command], cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds, user and system, with those of children already reaped."""
    return sum(sum(map(int, fields[11:15])) for pid in pids if (fields := _stat(pid))) / _TICKS_PER_S


def thread_cpu_s(pid: int) -> dict[int, float]:
    """CPU seconds of each thread of one process; the first one's number is the process's."""
    tasks = [int(entry.name) for entry in (_PROC / str(pid) / "task").iterdir()]
    return {
        tid: sum(map(int, fields[11:13])) / _TICKS_PER_S for tid in tasks if (fields := _stat(pid, f"task/{tid}/stat"))
    }


def own_cpu_s() -> float:
    """CPU seconds of this process and of the children it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def rss_mb(pids: Sequence[int]) -> float:
    """Resident memory, in MiB."""
    pages = sum(int(text.split()[1]) for pid in pids if (text := _read(pid, "statm")))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def machine_busy_s() -> float:
    """CPU seconds that the whole machine has been busy since it started."""
    fields = [int(field) for field in (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS_PER_S


def wait_idle(pids: Sequence[int], *, bound_s: float) -> None:
    """Return when the processes have nothing left to do: what they put off until after the load is counted too."""
    stop = time.monotonic() + bound_s
    before = cpu_s(pids)
    while time.monotonic() < stop:
        time.sleep(0.3)
        now = cpu_s(pids)
        if now - before <= 1.5 / _TICKS_PER_S:
            return
        before = now


def wait_quiet(bound_s: float, busy: float = 0.15) -> None:
    """Return when the machine is quiet, or after ``bound_s``; the rest is reported as ``others``."""
    stop = time.monotonic() + bound_s
    while time.monotonic() < stop:
        before = machine_busy_s()
        time.sleep(0.5)
        if (machine_busy_s() - before) / 0.5 < busy:
            return


def _read(pid: int, name: str) -> str:
    try:
        return (_PROC / str(pid) / name).read_text()
    except OSError:
        return ""


def _stat(pid: int, name: str = "stat") -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty when the process is gone."""
    text = _read(pid, name)
    return text[text.rindex(")") + 2 :].split() if text else []


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
