"""An open-loop load, from a process of its own: requests leave when they are due, whatever became of those before.

    plan = Plan(port, seconds=10, flows=[Flow("calm", rate=50), Flow("loud", rate=500, key=key)])
    with open_loop(plan, directory) as load:
        ...                                  # meanwhile
        taken = load.wait()
    print(taken.summary("calm").p99_s, taken.late_s)

Times are counted from when a request was due, so that a driver or a gateway that falls behind hides nothing. Bounded in
time (``seconds`` and ``patience_s``), in requests (``most``), and in connections (``most_open``).
"""

import asyncio
import math
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import msgspec
import uvloop

from tests.support.open_loop_client import Client, Record

ROOT: Final = Path(__file__).parents[2]
GRACE_S: Final = 30.0
"""For the process to start and to write down what it saw."""
_TURN_S: Final = 0.0005
"""Requests that are due within so much of one another leave together."""


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one kind."""

    name: str
    rate: float
    """Per second."""
    model: str = "m"
    streamed: bool = False
    key: str = ""
    poisson: bool = True
    """Otherwise at even distances."""
    same: bool = False
    """Every request is the same; otherwise each has a prompt of its own."""
    fields: dict[str, object] = {}
    """More for the body."""
    headers: dict[str, str] = {}
    since_s: float = 0.0
    until_s: float = math.inf
    """When in the plan it flows."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, and how much at most."""

    port: int
    seconds: float
    flows: list[Flow]
    seed: int = 1
    patience_s: float = 30.0
    """After which a request is given up."""
    most: int = 100_000
    most_open: int = 8_000


class Summary(msgspec.Struct, frozen=True):
    """Of the records of a flow."""

    sent: int
    good: int
    """Complete 200s without an error event."""
    refused: int
    """429s and 503s."""
    refused_unsaid: int
    """Of them without Retry-After."""
    failed: int
    """Everything else."""
    statuses: dict[int, int]
    """0 = no answer began."""
    rate: float
    """Good ones per second of the time in which they were sent."""
    p50_s: float
    p90_s: float
    p99_s: float
    """Of good ones, to their end."""
    first_p50_s: float
    first_p99_s: float
    """Of good ones, to the first byte of the body."""
    refused_p99_s: float

    @property
    def success(self) -> float:
        """The share of good ones."""
        return self.good / self.sent if self.sent else 1.0


class Taken(msgspec.Struct, frozen=True):
    """What came of a plan."""

    records: list[Record]

    @property
    def late_s(self) -> float:
        """P99 of how late the driver itself was: with much of it, the machine was too small for the plan."""
        return quantile([each.late_s for each in self.records], 0.99)

    def of(self, flow: str = "", since_s: float = 0.0, until_s: float = math.inf) -> list[Record]:
        """Of a flow ("" = all), due in that part of the plan."""
        return [each for each in self.records if flow in ("", each.flow) and since_s <= each.due_s < until_s]

    def summary(self, flow: str = "", since_s: float = 0.0, until_s: float = math.inf) -> Summary:
        """The figures of these."""
        return summarised(self.of(flow, since_s, until_s))


def summarised(records: Sequence[Record]) -> Summary:
    """Their figures."""
    good = [each for each in records if each.good]
    refused = [each for each in records if each.status in {429, 503}]
    due = [each.due_s for each in records]
    span_s = max(due) - min(due) if len(due) > 1 else 0.0
    whole, first = [each.end_s for each in good], [each.first_s for each in good]
    return Summary(
        sent=len(records),
        good=len(good),
        refused=len(refused),
        refused_unsaid=sum(each.retry_after_s is None for each in refused),
        failed=len(records) - len(good) - len(refused),
        statuses=dict(Counter(each.status for each in records)),
        rate=len(good) / span_s if span_s else 0.0,
        p50_s=quantile(whole, 0.5),
        p90_s=quantile(whole, 0.9),
        p99_s=quantile(whole, 0.99),
        first_p50_s=quantile(first, 0.5),
        first_p99_s=quantile(first, 0.99),
        refused_p99_s=quantile([each.end_s for each in refused], 0.99),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share does not exceed; NaN of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


class OpenLoop:
    """The process, from the side of a test."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        """``directory``: for the plan and the records."""
        self._plan = plan
        self._asked = directory / f"load-{id(self):x}.msgpack"
        self._told = self._asked.with_suffix(".jsonl")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Begin to send; returns when it does."""
        self._asked.write_bytes(msgspec.msgpack.encode(self._plan))
        command = [sys.executable, "-m", "tests.support.open_loop", str(self._asked), str(self._told)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"sending\n"
        return self

    def wait(self) -> Taken:
        """Until every request has ended."""
        assert self._process is not None
        code = self._process.wait(self._plan.seconds + self._plan.patience_s + GRACE_S)
        assert code == 0, f"the load ended with {code}"
        lines = self._told.read_bytes().splitlines()
        return Taken([msgspec.json.decode(line, type=Record) for line in lines])

    def stop(self) -> None:
        """At once."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


@contextmanager
def open_loop(plan: Plan, directory: Path) -> Iterator[OpenLoop]:
    """One that sends."""
    load = OpenLoop(plan, directory)
    try:
        yield load.start()
    finally:
        load.stop()


# --- in the process


def arrivals(plan: Plan) -> list[tuple[float, int]]:
    """(seconds, flow) of every request, in order: the same with the same seed."""
    due: list[tuple[float, int]] = []
    for index, flow in enumerate(plan.flows):
        chance = random.Random(f"{plan.seed} {flow.name}")  # noqa: S311 - chance, no secret
        at, until = flow.since_s, min(flow.until_s, plan.seconds)
        while (at := at + (chance.expovariate(flow.rate) if flow.poisson else 1 / flow.rate)) < until:
            due.append((at, index))
    return sorted(due)[: plan.most]


def body_of(flow: Flow, number: int) -> bytes:
    """The JSON of one request."""
    prompt = "the same for all" if flow.same else f"{flow.name} {number}"
    options = {"stream": True, "stream_options": {"include_usage": True}} if flow.streamed else {}
    messages = [{"role": "user", "content": prompt}]
    return msgspec.json.encode({"model": flow.model, "messages": messages, **options, **flow.fields})


async def drive(plan: Plan) -> list[Record]:
    """Send all, each when it is due, and wait for their ends."""
    client, now = Client(plan.port, plan.most_open, plan.patience_s), asyncio.get_running_loop().time
    began = now()
    for number, (due_s, index) in enumerate(arrivals(plan)):
        if (left := began + due_s - now()) > _TURN_S:
            await asyncio.sleep(left)
        elif not number % 16:
            await asyncio.sleep(0)
        flow = plan.flows[index]
        key = {"authorization": f"Bearer {flow.key}"} if flow.key else {}
        client.send(Record(flow.name, due_s, flow.streamed), began, {**key, **flow.headers}, body_of(flow, number))
    return await client.done()


def main(asked: Path, told: Path) -> None:
    """Read the plan, follow it, write the records."""
    plan = msgspec.msgpack.decode(asked.read_bytes(), type=Plan)
    sys.stdout.write("sending\n")
    sys.stdout.flush()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        records = runner.run(drive(plan))
    told.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in records))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
