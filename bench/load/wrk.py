"""wrk as the closed-loop load: one thread, bodies from a Lua script, figures as JSON."""

import tempfile
import time
from pathlib import Path

import msgspec

from bench.load import processes
from bench.load.cases import NUMBER


class Load(msgspec.Struct, frozen=True):
    """What one run of wrk saw. Latencies in microseconds over the answered requests."""

    requests: int
    wall_s: float
    errors: int
    """Statuses of 400 and more, and connections that broke."""
    p50_us: float
    p99_us: float

    @property
    def rps(self) -> float:
        """Requests per second."""
        return self.requests / self.wall_s


_HEAD = """\
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer none"
"""
_SAME = "wrk.body = [==[{body}]==]\n"
_UNIQUE = """\
local n = {first}
local span = {span}
local before = [==[{before}]==]
local after = [==[{after}]==]
request = function()
  n = n + 1
  local number = span > 0 and n % span or n
  return wrk.format(nil, nil, nil, before .. string.format("%d", number) .. after)
end
"""
_DONE = """\
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'JSON{"requests":%d,"wall_s":%f,"errors":%d,"p50_us":%d,"p99_us":%d}\\n',
    summary.requests, summary.duration / 1e6,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


def script(body: str, first: int, span: int = 0) -> str:
    """The Lua script that sends ``body``, numbered from ``first`` on where it has a place for a number.

    ``span``: how many numbers there are, to be sent again and again; 0 = no number comes twice.
    """
    if NUMBER not in body:
        return _HEAD + _SAME.format(body=body) + _DONE
    before, after = body.split(NUMBER)
    return _HEAD + _UNIQUE.format(first=first, span=span, before=before, after=after) + _DONE


def run(url: str, body: str, *, connections: int, secs: float, span: int = 0) -> Load:
    """Load ``url`` for whole seconds. ``span``: as ``script`` has it. Raises RuntimeError when wrk says no figures."""
    first = 0 if span else time.time_ns() % 10**15
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as lua:
        lua.write(script(body, first, span))
        lua.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(secs))}s", "--timeout", "20s"]
        text = processes.output(
            [*command, "-s", Path(lua.name).as_posix(), url], core=processes.LOAD_CORE, timeout_s=secs + 60
        )
    return read(text)


def read(text: str) -> Load:
    """The figures in wrk's output."""
    for line in text.splitlines():
        if line.startswith("JSON"):
            return msgspec.json.decode(line[4:], type=Load)
    raise RuntimeError(f"wrk gave no figures: {text[-500:]}")
