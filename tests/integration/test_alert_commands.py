"""``penstock alerts`` on a store alone, with bots on loopback, and with a Prometheus that is not well."""

import http.server
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from penstock.clock import SystemClock
from penstock.core.records import LedgerRow
from penstock.ports.stores import Stores
from penstock.wire.bots import BOTS
from tests.support.commands import Place, open_place
from tests.support.ledger_rows import attempt_row, exchange_row, share_row
from tests.support.noon import where_it_is_noon
from tests.support.scripted_bot import TOKEN, scripted_bot

SECRET = "SEC0123456789"
ZONE = where_it_is_noon()
NANO = 10**9


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Place]:
    """A directory with a config and a store."""
    with open_place(tmp_path, capsys) as made:
        yield made


def add(place: Place, text: str) -> None:
    """To the config."""
    config = place.directory / "penstock.yaml"
    config.write_text(config.read_text() + text)


def day(days_ago: int) -> datetime:
    """Its first instant."""
    today = datetime.fromtimestamp(SystemClock().now(), ZoneInfo(ZONE))
    return today.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days_ago)


def exchange(number: int, days_ago: int, cost: int, **fields: Any) -> Sequence[LedgerRow]:
    """One at noon, of so many CNY."""
    id_, attempt, at = f"ex_{number}", f"at_{number}", day(days_ago).timestamp() + 12 * 3600
    lever = fields.pop("lever", "direct")
    return [
        exchange_row(id_, at=at, cost_nano=cost * NANO, **{"baseline_nano": cost * NANO, **fields}),
        attempt_row(attempt, id_, started_at=at, charged_nano=cost * NANO, charged_book_nano=cost * NANO),
        share_row(attempt, id_, cost * NANO, lever),
    ]


def fill(place: Place) -> None:
    """Today, yesterday, the day before, and a week before."""

    async def filled(stores: Stores) -> None:
        stores.ledger.append(exchange(1, 0, 1000, team="search"))
        stores.ledger.append(exchange(2, 1, 60, team="search", baseline_nano=90 * NANO, lever="routing"))
        stores.ledger.append(exchange(3, 1, 20, team="support"))
        stores.ledger.append(exchange(4, 2, 50, team="search"))
        stores.ledger.append(exchange(5, 8, 5, team="support"))
        await stores.ledger.flush()

    place.with_stores(filled)


# --- the digest


def test_a_digest_is_printed_and_tells_nobody(place: Place) -> None:
    """Of yesterday in the ledger's zone: the figures of ``penstock spend``, savings, the biggest rise, budgets."""
    add(place, f"alerts: {{timezone: {ZONE}}}\nbudgets: [{{name: all, limit: 1200 CNY, window: total}}]\n")
    fill(place)
    printed = place.run("alerts", "digest", "--dry-run")
    since, until = (day(days_ago).isoformat() for days_ago in (1, 0))
    spent = place.json("spend", "--by", "team", "--since", since, "--until", until)
    assert spent["total"]["cost"] == "80.000000000"
    assert printed.startswith(f"Penstock: {since[:10]} ({ZONE})\n\nSpent 80.00 CNY\n")
    for line in (
        "search: 60.00 CNY (75 %)",
        "support: +15.00 CNY (the day before 0.00 CNY, a week before 5.00 CNY)",
        "60 % more than the day before (50.00 CNY), 1500 % more than a week before (5.00 CNY)",
        "routing: 30.00 CNY",
        "all: 94 % used",
    ):
        assert f"  {line}\n" in printed


@pytest.mark.parametrize("kind", BOTS)
def test_a_digest_is_told_to_a_bot(kind: str, place: Place) -> None:
    """Signed as the bot wants it."""
    fill(place)
    with scripted_bot(kind, None if kind == "wecom" else SECRET) as bot:
        secret = f", secret: {bot.secret}" if bot.secret else ""
        add(
            place,
            f"alerts: {{timezone: {ZONE}, relay: {{bots: {{ops: {{kind: {kind}, url: '{bot.url}'{secret}}}}}}}}}\n",
        )
        assert place.run("alerts", "digest", "--to", "ops") == "Told ops.\n"
    (heard,) = bot.heard
    assert "**Spent 80.00 CNY**" in heard.text


def test_a_bot_that_refuses_is_named_and_its_webhook_is_not(place: Place) -> None:
    """Exit code 1, in the bot's words."""
    fill(place)
    with scripted_bot("feishu", SECRET) as bot:
        add(place, f"alerts: {{relay: {{bots: {{ops: {{kind: feishu, url: '{bot.url}', secret: other}}}}}}}}\n")
        place.run("alerts", "digest", "--to", "ops", code=1)
    assert "the bot ops refused: 19021 sign match fail" in place.errors
    assert TOKEN not in place.errors


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("digest",), 2, "--dry-run prints it, --to NAME tells a bot"),
        (("digest", "--dry-run", "--to", "ops"), 2, "say where"),
        (("digest", "--to", "nobody"), 2, "alerts.relay.bots has no 'nobody'; it has none"),
        (("relay",), 1, "there is nobody to tell"),
        (("review", "--prometheus", "127.0.0.1:9090"), 2, "write its URL"),
        (("review", "--since", "tomorrow"), 2, "is no time"),
        (("review", "--since", "2100-01-01"), 2, "is no time in the past"),
        (("review", "--step", "5"), 2, "lacks its unit"),
        (("review", "--step", "10ms"), 2, "1s is the least"),
    ],
)
def test_what_is_asked_wrongly_is_said(arguments: Sequence[str], code: int, words: str, place: Place) -> None:
    """With the code of a bad use."""
    place.run("alerts", *arguments, code=code)
    assert words in place.errors


def test_a_port_that_is_taken_is_said(place: Place) -> None:
    """Exit code 1, and what to do."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        port = bound.getsockname()[1]
        bots = "{ops: {kind: wecom, url: 'http://127.0.0.1:1/x'}}"
        add(place, f"alerts: {{relay: {{listen: '127.0.0.1:{port}', bots: {bots}}}}}\n")
        place.run("alerts", "relay", code=1)
    assert f"127.0.0.1:{port} is in use" in place.errors


# --- a Prometheus that is not well


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """Something that always answers so; its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Quietly."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def nobody() -> Iterator[str]:
    """A port that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (502, b"<html>Bad Gateway</html>", "Prometheus did not answer in JSON (status 502): is it a Prometheus?"),
        (200, b"<html>Grafana</html>", "did not answer in JSON (status 200)"),
        (200, b"[]", "did not answer in JSON (status 200)"),
        (
            422,
            b'{"status":"error","errorType":"execution","error":"too many samples"}',
            "refused (status 422): too many",
        ),
        (503, b'{"status":"error","errorType":"unavailable","error":"starting"}', "refused (status 503): starting"),
        (200, b'{"status":"success","data":{"groups":7}}', "answered what this cannot read"),
        (200, b'{"status":"success","data":{"groups":[{"rules":[{"type":"alerting"}]}]}}', "cannot read"),
        (200, b'{"status":"success","data":{"groups":[{"rules":[7]}]}}', "cannot read"),
        (200, b'{"status":"success","data":{"groups":[],"result":[{"metric":{},"values":[[1,"x"]]}]}}', "is no number"),
    ],
)
def test_a_prometheus_that_is_none_is_told_from_one(status: int, body: bytes, words: str, place: Place) -> None:
    """Exit code 1, a sentence, no traceback."""
    with answering(status, body) as url:
        place.run("alerts", "review", "--prometheus", url, code=1)
    assert words in place.errors
    assert "Traceback" not in place.errors


def test_a_prometheus_that_is_down_is_said(place: Place) -> None:
    """Exit code 1."""
    with nobody() as url:
        place.run("alerts", "review", "--prometheus", url, code=1)
    assert place.errors.startswith("Prometheus cannot be reached: 127.0.0.1:")


def test_a_past_without_alerts_is_one(place: Place) -> None:
    """Nothing to show is no failure."""
    empty = b'{"status":"success","data":{"groups":[],"result":[]}}'
    with answering(200, empty) as url:
        assert place.run("alerts", "review", "--prometheus", url) == "Nothing to show.\n"
