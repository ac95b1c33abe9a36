"""``python bench/micro_wire.py``: microseconds of CPU per call of what every request and every event passes through."""

import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path

import msgspec

from penstock.core.cachekey import cache_key
from penstock.core.tokens import estimate_request
from penstock.wire.answers import verdict
from penstock.wire.fold import fold_for
from penstock.wire.requests import read_request, rewrite
from penstock.wire.sse import Event, SseParser
from penstock.wire.unfold import unfold

ROUNDS = 7
"""The quickest of these counts: the others were disturbed."""
ROUND_S = 0.05

CHUNK = (
    b'data: {"id":"a1b2c3","object":"chat.completion.chunk","created":1760000000,"model":"deepseek-flash",'
    b'"system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":"hello"},"logprobs":null,'
    b'"finish_reason":null}]}\n\n'
)
TEXT_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"hello"}}\n\n'
)
ANSWER = msgspec.json.encode({
    "id": "a1", "object": "chat.completion", "created": 1, "model": "m", "usage": {"prompt_tokens": 1},
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 200}, "finish_reason": "stop"}],
})  # fmt: skip


def request(chars: int) -> bytes:
    """A chat request whose prompt has so many characters."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": ("lorem ipsum\n" * chars)[:chars]},
    ]
    return msgspec.json.encode({"model": "deepseek-flash", "messages": messages, "temperature": 0.7, "stream": True})


def per_call_us(call: Callable[[], object], calls: int = 1) -> float:
    """Microseconds of CPU of one of the ``calls`` that ``call`` makes."""
    timer = timeit.Timer(call, timer=time.process_time)
    number = max(1, int(ROUND_S / max(timer.timeit(1), 1e-7)))
    return min(timer.repeat(ROUNDS, number)) / number / calls * 1e6


def cases() -> dict[str, tuple[Callable[[], object], int]]:
    """What is measured: a function, and how many calls it counts for."""
    parser = SseParser()
    many, crlf = CHUNK * 50, CHUNK.replace(b"\n", b"\r\n") * 50
    chunk, text_delta = parser.feed(CHUNK)[0], parser.feed(TEXT_DELTA)[0]
    decoded = (chunk.json, text_delta.json)
    chat, messages = fold_for("chat"), fold_for("messages")
    small, large = request(900), request(32_000)
    fields, whole = read_request("chat", small), msgspec.json.decode(ANSWER)
    return {
        f"parse an event of {len(CHUNK)} bytes, one per read": (lambda: parser.feed(CHUNK), 1),
        "parse, fifty per read": (lambda: parser.feed(many), 50),
        "parse, fifty per read, CRLF": (lambda: parser.feed(crlf), 50),
        "parse a named event": (lambda: parser.feed(TEXT_DELTA), 1),
        "decode a chunk": (lambda: Event(CHUNK, CHUNK[6:-2]).json, 1),
        f"fold a decoded chat chunk ({len(decoded[0])} fields)": (lambda: chat.add(chunk), 1),
        "fold a decoded text delta": (lambda: messages.add(text_delta), 1),
        "unfold an answer of 1 KB": (lambda: unfold("chat", ANSWER, include_usage=True), 1),
        "judge an answer": (lambda: verdict("chat", whole), 1),
        f"read a request of {len(small)} bytes": (lambda: read_request("chat", small), 1),
        f"read a request of {len(large)} bytes": (lambda: read_request("chat", large), 1),
        f"rewrite a request of {len(small)} bytes": (lambda: rewrite(small, {"model": "m"}), 1),
        f"rewrite a request of {len(large)} bytes": (lambda: rewrite(large, {"model": "m"}), 1),
        f"key a request of {len(small)} bytes": (lambda: cache_key("k", "m", "chat", "p", fields), 1),
        f"count the tokens of {len(small)} bytes": (lambda: estimate_request("chat", fields), 1),
    }


def main() -> None:
    """Print a table."""
    sys.stdout.write(f"{Path(__file__).name}, Python {sys.version.split()[0]}, quickest of {ROUNDS}\n\n")
    for name, (call, calls) in cases().items():
        sys.stdout.write(f"{per_call_us(call, calls):9.2f} us  {name}\n")


if __name__ == "__main__":
    main()
