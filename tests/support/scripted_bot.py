"""A bot of a group chat on loopback: notes what it is told, checks signatures by itself, answers as told.

with scripted_bot("dingtalk", secret="SEC") as bot:
    bot.answers.append((200, b'{"errcode":130101,"errmsg":"send too fast"}'))
    ...
    assert bot.heard[0].text == "..."
"""

import base64
import hashlib
import hmac
import http.server
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec

TOKEN: Final = "t0ken-0123456789"
OK: Final = {
    "dingtalk": b'{"errcode":0,"errmsg":"ok"}',
    "wecom": b'{"errcode":0,"errmsg":"ok"}',
    "feishu": b'{"code":0}',
}
UNSIGNED: Final = {
    "dingtalk": b'{"errcode":310000,"errmsg":"sign not match"}',
    "feishu": b'{"code":19021,"msg":"sign match fail or timestamp is not within one hour from current time"}',
}
_PATHS: Final = {
    "dingtalk": f"/robot/send?access_token={TOKEN}",
    "feishu": f"/open-apis/bot/v2/hook/{TOKEN}",
    "wecom": f"/cgi-bin/webhook/send?key={TOKEN}",
}
_HOUR_S: Final = 3600


@dataclass(frozen=True)
class Heard:
    """One message."""

    kind: str
    document: Any

    @property
    def text(self) -> str:
        """Its markdown."""
        found = (
            self.document["card"]["elements"][0]["content"]
            if self.kind == "feishu"
            else self.document["markdown"]["text" if self.kind == "dingtalk" else "content"]
        )
        return str(found)


@dataclass
class ScriptedBot:
    """What it heard, and what it will answer before it takes everything."""

    kind: str
    secret: str | None = None
    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    """What it took."""
    answers: deque[tuple[int, bytes]] = field(default_factory=deque)
    refused: int = 0

    def hear(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Take a message, or not."""
        document = msgspec.json.decode(body)
        if path.partition("&timestamp")[0] != _PATHS[self.kind] or not self._is_signed(path, document):
            self.refused += 1
            return 200, UNSIGNED.get(self.kind, b'{"errcode":93000,"errmsg":"invalid webhook url"}')
        if self.answers:
            self.refused += 1
            return self.answers.popleft()
        self.heard.append(Heard(self.kind, document))
        return 200, OK[self.kind]

    def _is_signed(self, path: str, document: Any) -> bool:
        if self.secret is None:
            return True
        if self.kind == "dingtalk":
            query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
            stamp, sign = query.get("timestamp", "0"), query.get("sign", "")
            digest = hmac.new(self.secret.encode(), f"{stamp}\n{self.secret}".encode(), hashlib.sha256).digest()
            at = int(stamp) / 1000
        else:
            stamp, sign = document.get("timestamp", "0"), document.get("sign", "")
            digest = hmac.new(f"{stamp}\n{self.secret}".encode(), digestmod=hashlib.sha256).digest()
            at = int(stamp)
        return bool(sign == base64.b64encode(digest).decode() and abs(at - time.time()) < _HOUR_S)


@contextmanager
def scripted_bot(kind: str, secret: str | None = None) -> Iterator[ScriptedBot]:
    """One that listens."""
    bot = ScriptedBot(kind, secret)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            status, answer = bot.hear(self.path, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: object) -> None:
            """Quietly."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        bot.url = f"http://127.0.0.1:{server.server_port}{_PATHS[kind]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield bot
        finally:
            server.shutdown()
            thread.join()
