"""Clients that go on asking until the block ends, each one question after the other, whatever comes of it.

with crowd(Asker(gateway.origin, "sk-web", "chat", pause_s=0.1), Asker(...)):
    ...

Every other question of an asker is one of a few that come again and again.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from itertools import count
from typing import Final, NamedTuple
from urllib.parse import urlsplit

PATIENCE_S: Final = 120.0
_SYSTEM: Final = "You answer for a shop that sells everything, politely, and never promise what nobody can hold. " * 6
_USUAL: Final = 3
"""Questions that come again and again."""


class Asker(NamedTuple):
    """One of the crowd."""

    origin: str
    key: str
    model: str
    pause_s: float
    """Between an answer and the next question."""
    user: str = "somebody"
    streamed: bool = False
    usual: bool = True
    """Whether every other question is an old one."""
    times: int = 1
    """So many of the kind."""


@contextmanager
def crowd(*askers: Asker) -> Iterator[None]:
    """All of them. At the end each hears its last answer."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=_go_on, args=(asker, f"{place}.{number}", stop))
        for place, asker in enumerate(askers)
        for number in range(asker.times)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _go_on(asker: Asker, name: str, stop: threading.Event) -> None:
    for number in count():
        if stop.wait(asker.pause_s):
            return
        old = asker.usual and number % 2
        _ask(asker, f"usual question {number // 2 % _USUAL}" if old else f"question {number} of {name}")


def _ask(asker: Asker, text: str) -> None:
    """Whatever comes of it: the metrics tell."""
    messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": text}]
    fields = {"model": asker.model, "messages": messages, "max_tokens": 4, "user": asker.user, "stream": asker.streamed}
    headers = {"authorization": f"Bearer {asker.key}", "content-type": "application/json"}
    connection = HTTPConnection(urlsplit(asker.origin).netloc, timeout=PATIENCE_S)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(fields), headers)
        connection.getresponse().read()
    except (OSError, HTTPException):
        pass
    finally:
        connection.close()
