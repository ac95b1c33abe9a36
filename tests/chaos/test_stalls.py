"""B15: whatever way a provider falls silent, its own deadline ends it, the client is told, and nothing is kept."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from penstock.server.answering import KEEP_ALIVE_S
from tests.support.bill_provider_lines import PRICES
from tests.support.fault_proxy import fault_proxy
from tests.support.gateway_process import GatewayProcess, gateway_process, wait_for
from tests.support.invariants import check_money
from tests.support.invariants_books import Books, stored_rows
from tests.support.kill_client import Question, ask
from tests.support.metrics_text import samples
from tests.support.raw_server import Hold, Read, raw_server
from tests.support.stalls import End, Scale, Stalls, stalls

pytestmark = pytest.mark.alone

QUICK = Scale(connect_s=1.0, first_byte_s=2.0, between_s=1.6, total_s=4.0, byte_s=0.2, comment_s=0.1)
SLACK_S = 0.3
"""For a machine that has other things to do, by the gateway's own clock; ``make soak`` has none, and longer deadlines:
there the clients' clocks count too, for to be told late is to be late."""
PEM = Path(__file__).parents[1] / "support" / "loopback.pem"
NO_SUCH_HOST = ".".join(["x" * 60] * 5) + ".invalid"
"""Too long for any name: its look-up fails without asking anybody."""


def check_end(name: str, end: End, scale: Scale) -> None:
    """Not a tenth before its deadline, and with its name."""
    way, told = end.way, end.told
    limit_s = getattr(scale, f"{way.deadline or 'total'}_s")
    begun = way.begun or (way.streamed and limit_s > KEEP_ALIVE_S)
    assert told.complete, name
    assert told.status == (200 if begun else 504), f"{name}: {told}"
    if not way.deadline:
        assert told.body.rstrip().endswith(b"0"), name
        assert end.error == {}, name
        return
    assert end.error["code"] == "provider_timeout", f"{name}: {end.error}"
    assert way.deadline == "connect" or f"{way.deadline} deadline" in end.error["message"], f"{name}: {end.error}"
    assert end.took_s >= 0.9 * limit_s, f"{name}: {end.took_s:.2f} s of {limit_s:g} s"


def check_times(ends: dict[str, End], took_s: dict[str, float], scale: Scale, slack_s: float) -> None:
    """At its deadline, not a tenth earlier or later."""
    for name, took in took_s.items():
        deadline = ends[name].way.deadline
        limit_s = getattr(scale, f"{deadline or 'total'}_s")
        in_time = not deadline or 0.9 * limit_s <= took <= 1.1 * limit_s + slack_s
        assert in_time, f"{name}: {took:.2f} s of {limit_s:g} s"


def took_inside(place: Stalls) -> dict[str, float]:
    """How long the last exchange of each model was under way, by the clock of the gateway, whose ledger is flushed."""
    rows = sorted(Books(stored_rows(place.gateway.store)).exchanges.values(), key=lambda row: row.at)
    return {row.model: row.duration_s for row in rows}


def check_nothing_is_kept(gateway: GatewayProcess) -> None:
    """No exchange, no hold, no attempt without an end."""
    wait_for(lambda: samples(gateway.metrics())["penstock_active_requests", ()] == 0, "the last exchange")
    assert gateway.admin("/admin/spend")[0] == 200  # flushes the ledger
    shown = gateway.json("budgets", "show")["rows"]
    assert [float(row["pending"]) for row in shown] == [0.0] * len(shown)


def check_stalls(place: Stalls, slack_s: float = 0.0) -> dict[str, End]:
    """One request each way; then every end, and what is left. ``slack_s``: 0 = its clients are told in time too."""
    ends = asyncio.run(place.ask_all())
    for name, end in ends.items():
        check_end(name, end, place.scale)
    check_nothing_is_kept(place.gateway)
    check_times(ends, took_inside(place), place.scale, slack_s)
    if not slack_s:
        check_times(ends, {name: end.took_s for name, end in ends.items()}, place.scale, slack_s)
    wait_for(lambda: not any(proxy.counts.open for proxy in place.proxies), "the sockets to be closed")
    assert all(place.provider.counts(name).now == 0 for name in ends)
    return ends


def test_every_silence_ends_at_its_deadline(tmp_path: Path) -> None:
    """All ways at once; then slots, sockets and holds are free, and the books say what happened."""
    with stalls(tmp_path, QUICK) as place:
        ends = check_stalls(place, SLACK_S)
        store = place.gateway.store
    books = Books(stored_rows(store))
    check_money(books)
    outcomes = {attempt.deployment.split("/")[1]: attempt.outcome for attempt in books.attempts.values()}
    assert outcomes == {name: "provider_timeout" if end.way.deadline else "ok" for name, end in ends.items()}


def sections(**urls: str) -> dict[str, Any]:
    """A model for each of these base URLs, asked once."""
    return {
        "providers": {name: {"kind": "openai", "base_url": url, "prices": PRICES} for name, url in urls.items()},
        "models": {name: {"deployments": [{"provider": name, "model": name}]} for name in urls},
        "budgets": [{"name": "all", "scope": "global", "limit": "1000 CNY", "window": "month", "timezone": "UTC"}],
        "retry": {"attempts": 1},
    }


async def test_what_cannot_be_reached_is_told_at_once(tmp_path: Path) -> None:
    """No such name, no such certificate, no TLS at all, nobody there, a reset: a 502 each, and nothing is kept."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(PEM)
    async with raw_server([Read(), Hold()], tls=tls) as stranger, raw_server([b"220 mail here\r\n", Hold()]) as plain:
        with fault_proxy(plain.port, reset_connect=1.0) as resets, fault_proxy(plain.port, refuse=True) as refuses:
            urls = {
                "dns": f"http://{NO_SUCH_HOST}/v1",
                "certificate": f"https://127.0.0.1:{stranger.port}/v1",
                "tls": f"https://127.0.0.1:{plain.port}/v1",
                "reset": resets.url("/v1"),
                "refused": refuses.url("/v1"),
            }
            with gateway_process(tmp_path, **sections(**urls)) as gateway:
                questions = [Question(f"mk-{name}", name, streamed) for name in urls for streamed in (True, False)]
                async with asyncio.timeout(10):
                    told = await asyncio.gather(*(ask(gateway.port, question) for question in questions))
                await asyncio.to_thread(check_nothing_is_kept, gateway)
                assert stranger.requests == plain.requests == []
                logged = gateway.stderr
    assert [(each.status, each.json["error"]["code"]) for each in told] == [(502, "provider_unreachable")] * len(told)
    for phase in ("dns: ", "tls: ", "connect: "):
        assert phase in logged, "the operator is told where it failed"
