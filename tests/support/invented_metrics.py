"""A target that shows every metric there is, of a Penstock to which everything happens all the time.

with invented_metrics() as target:
    with prometheus_server(directory, [target]) as prometheus:
        ...

What takes days, an edge or a provider's account to come about is there at once, what a rule makes of days included.
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from threading import Thread
from types import MappingProxyType
from typing import Final

from penstock.observe.metrics import DECLARED, Declared
from tests.support.panels import NEEDS, questions, rules

VALUES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "budget": ("all",),
        "cache": ("exact", "join", "miss"),
        "currency": ("CNY",),
        "deployment": ("up/chat",),
        "kind": ("input_hit", "input_miss", "output"),
        "lever": ("exact",),
        "model": ("chat", "thinks"),
        "outcome": ("ok", "provider_error", "budget_exceeded", "invalid_api_key"),
        "provider": ("up",),
        "python": ("3.11",),
        "reason": ("queue_full",),
        "result": ("hit", "miss"),
        "source": ("configured",),
        "version": ("0.1.0",),
    }
)
"""Of each label. One model thinks, the other does not: they are held to different thresholds."""

_PROMETHEUS_OWN: Final = ("up", "ALERTS", "scrape_")
_HALF: Final = 0.5
_PER_S: Final = 2.0


def exposition(age_s: float) -> str:
    """All of it: counters have counted since ``age_s``."""
    lines = [line for declared in DECLARED for line in _lines(declared, age_s)]
    for name in sorted(_undeclared()):
        labels = {label: values[0] for label, values in VALUES.items()}
        lines.append(_line(name, labels, _value(name, age_s)))
    return "\n".join(lines) + "\n"


@contextmanager
def invented_metrics() -> Iterator[str]:
    """Yields its address."""
    begun = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = exposition(time.monotonic() - begun).encode()
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _lines(declared: Declared, age_s: float) -> Iterator[str]:
    for values in product(*(VALUES[label] for label in declared.labels)):
        labels = dict(zip(declared.labels, values, strict=True))
        if not declared.bounds:
            idle = declared.name == "penstock_reasoning_tokens_total" and labels["model"] != "thinks"
            yield _line(declared.name, labels, 0 if idle else _value(declared.name, age_s))
            continue
        total = _PER_S * age_s
        for number, bound in enumerate(declared.bounds, 1):
            yield _line(f"{declared.name}_bucket", {**labels, "le": str(bound)}, total * number / len(declared.bounds))
        yield _line(f"{declared.name}_bucket", {**labels, "le": "+Inf"}, total)
        yield _line(f"{declared.name}_count", labels, total)
        yield _line(f"{declared.name}_sum", labels, total)


def _value(name: str, age_s: float) -> float:
    return _PER_S * age_s if name.endswith("_total") else _HALF


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value}"


@cache
def _undeclared() -> frozenset[str]:
    """What panels and rules ask for besides: of the process, and what a rule makes of days that have not been."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    declared = {each.name + end for each in DECLARED for end in ("", "_bucket", "_sum", "_count")}
    asked = {name for each in questions() for name in each.names}
    asked |= {name for rule in rules() for name in re.findall(r"\bpenstock_\w+", rule["expr"])}
    needed = asked - declared - (recorded - NEEDS.keys())
    return frozenset(name for name in needed if not name.startswith(_PROMETHEUS_OWN))
