"""The load that the benchmark makes: bodies, scripts, the mock provider and the client for first bytes."""

import asyncio
import json
from pathlib import Path

import pytest
import yaml

from bench.load import upstream, wrk
from bench.load.cases import CACHE_MB, CASES, LONG_BYTES, NUMBER, Case
from bench.load.firstbyte import measure, request
from bench.load.peers import PEERS
from bench.load.profile import summary
from bench.load.session import Plan, load_cells

HERE = Path(wrk.__file__).parent
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_body_is_a_request(case: Case) -> None:
    """With its number filled in, it is JSON with a model and messages, and a stream where it says so."""
    body = json.loads(case.body.replace(NUMBER, "7"))
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body.get("stream", False) == (case.name in {"ustream", "ttft"})
    assert case.unique == (case.name != "hit")


def test_a_long_body_is_long() -> None:
    """32 KB of prompt."""
    assert len(CASES["ulong"].body) > LONG_BYTES


def test_a_script_numbers_what_has_a_number() -> None:
    """Requests of ``uniq`` differ, unless there are so many numbers only; requests of ``hit`` do not."""
    assert "local n = 41\nlocal span = 0\n" in wrk.script(CASES["uniq"].body, 41)
    assert "local span = 2000\n" in wrk.script(CASES["uniq"].body, 41, 2000)
    assert NUMBER not in wrk.script(CASES["uniq"].body, 41)
    assert "wrk.body = " in wrk.script(CASES["hit"].body, 41)


def test_figures_are_found_in_what_wrk_says() -> None:
    """The last line is ours, the rest is wrk's; without it there is no figure."""
    load = wrk.read('Running 1s test\nJSON{"requests":10,"wall_s":2.0,"errors":0,"p50_us":7,"p99_us":9}\n')
    assert (load.rps, load.p50_us) == (5.0, 7)
    with pytest.raises(RuntimeError, match="no figures"):
        wrk.read("unable to connect")


@pytest.mark.parametrize(
    "whole",
    [
        POST + b"Content-Length: 5\r\n\r\nhello",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_a_request_ends_where_it_ends(whole: bytes) -> None:
    """However much of it, or after it, has arrived."""
    head_end = whole.index(b"\r\n\r\n")
    assert upstream.end_of_request(whole + b"POST", head_end) == len(whole)
    for cut in range(head_end + 4, len(whole)):
        assert upstream.end_of_request(whole[:cut], head_end) == -1


@pytest.mark.parametrize("name", ["uniq", "ustream", "ttft"])
async def test_first_bytes_are_timed(name: str) -> None:
    """Whole and streamed answers of the mock provider are read to their end, and come before it."""
    server = await asyncio.get_running_loop().create_server(upstream.Connection, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        seen = await measure(f"http://127.0.0.1:{port}/v1/chat/completions", CASES[name].body, 0.05)
        await asyncio.sleep(0)  # the server sees the client leave
    assert seen.requests > 0
    assert seen.errors == 0
    assert 0 < seen.first_p50_us <= seen.total_p50_us


async def test_pipelined_requests_are_answered_in_order() -> None:
    """A second request waits until the stream before it has been written."""
    server = await asyncio.get_running_loop().create_server(upstream.Connection, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        writer.write(request(url, CASES["ustream"].body, 1) + request(url, CASES["uniq"].body, 2))
        said = await reader.readexactly(sum(map(len, upstream.STREAM)) + len(upstream.COMPLETION))
        writer.close()
        await writer.wait_closed()
    assert said == b"".join(upstream.STREAM) + upstream.COMPLETION


def test_the_measured_config_is_the_one_that_is_judged() -> None:
    """The cache that the memory limit allows for is the cache that Penstock is started with, all features on."""
    config = yaml.safe_load((HERE / "penstock.yaml").read_text())
    assert config["cache"] == {"exact": {"ttl": "1h", "max_bytes": f"{CACHE_MB:g}MiB"}, "join": True}


def test_repetitions_are_interleaved() -> None:
    """Every peer and case once, then again; memory only once."""
    peers = [PEERS["nginx"], PEERS["penstock"]]
    cells = [f"{rep} {case} {peer.name}" for rep, case, peer in Plan(peers, ["uniq", "rss"], 2, 1).cells()]
    assert cells == ["0 uniq nginx", "0 uniq penstock", "0 rss penstock", "1 uniq nginx", "1 uniq penstock"]


def test_a_run_is_taken_up_where_it_ended(tmp_path: Path) -> None:
    """Cells on disk count; failed ones and a missing file do not."""
    out = tmp_path / "cells.jsonl"
    assert load_cells(out) == []
    out.write_text(
        '{"peer":"nginx","case":"hit","rep":0,"cpu_ms":0.02}\n{"peer":"nginx","case":"hit","rep":1,"failed":"x"}\n'
    )
    assert [cell.rep for cell in load_cells(out)] == [0]


def test_a_profile_tells_own_from_whole() -> None:
    """Samples count for the innermost function, and once for each caller."""
    assert summary("a;b 3\na 1\na;b;a 4\n").splitlines()[1:] == ["  62.5 %  100.0 %  a", "  37.5 %   87.5 %  b"]
