"""``penstock serve --workers 2`` with PostgreSQL and Redis: one budget, one ledger, whoever of the workers dies."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException
from itertools import chain
from pathlib import Path

import pytest

from penstock.core.usage import Usage
from penstock.providers.answers import Answer, events
from penstock.providers.play import SSE, Pause, Play
from penstock.providers.scripted import Asked
from tests.support.gateway_process import wait_for
from tests.support.plain_gateway import plain_config, question
from tests.support.postgres_server import shared_server
from tests.support.upstream import Upstream
from tests.support.workers_house import House, post, shared_house

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

OUTPUT = 10
COST = OUTPUT * 100_000 + 5
"""Of an answer, in nano-units: nearly all of it is output, so what is held is what it costs, nearly."""
FITS = 10
CALLS = 5
ENOUGH_S = 60.0
BUSY = 503
TRIES = 20
LEASES = "SELECT count(*) FROM leases WHERE ended_at IS NULL"
OPEN = "SELECT count(*) FROM attempts WHERE outcome = 'open'"
USED_LEASES = "SELECT count(DISTINCT lease) FROM attempts"


@pytest.fixture
def house(up: Upstream, tmp_path: Path) -> Iterator[House]:
    """Ten answers fit into its one budget, and half of another."""
    config = plain_config(up)
    config["providers"]["up"]["prices"] = {"input": "0.001", "cached_input": "0.001", "output": "100"}
    limit = f"{(FITS + 0.5) * COST / 1e9:.9f} CNY"
    budget = {"name": "all", "scope": "global", "limit": limit, "window": "total"}
    with shared_house(tmp_path, **config, budgets=[budget], budget_wait="2s") as made:
        yield made


PATH = "/v1/chat/completions"


def ask(house: House, number: int) -> int:
    """The status of one question."""
    return house.post(PATH, question(f"q {number}", max_tokens=OUTPUT))


def ask_on(connection: HTTPConnection, number: int) -> int:
    """The status of one that is streamed; 0 when its connection broke."""
    try:
        return post(connection, PATH, question(f"q {number}", max_tokens=OUTPUT, stream=True))
    except (OSError, HTTPException):
        return 0


def ask_until_told(house: House, number: int) -> list[int]:
    """The statuses of one question, which is asked again while a machine that is busy has nobody to lend."""
    statuses = [ask(house, number)]
    while statuses[-1] == BUSY and len(statuses) < TRIES:
        time.sleep(1.0)  # as Retry-After says
        statuses.append(ask(house, number))
    return statuses


def ask_all(house: House, count: int) -> Counter[int]:
    """The statuses of so many at once."""
    with ThreadPoolExecutor(count) as pool:
        return Counter(chain.from_iterable(pool.map(lambda number: ask_until_told(house, number), range(count))))


def written(house: House, query: str) -> int:
    """One number from the store itself."""
    name = database(house)
    return int(shared_server().run(lambda connection: connection.fetchval(query), name))


def database(house: House) -> str:
    """Where its rows are."""
    (line,) = [each for each in house.config.read_text("utf-8").splitlines() if each.startswith("store: ")]
    return line.rpartition("/")[2]


def test_one_budget_holds_over_both(house: House, up: Upstream) -> None:
    """Both workers spend of it, to the last answer that fits and no further; the counts are told as one."""
    up.script.reply(usage=Usage(input_miss=5, output=OUTPUT)).forever()
    of_each = house.post_to_each(PATH, lambda pid: question(f"to {pid}", max_tokens=OUTPUT))
    assert list(of_each.values()) == [200, 200]
    statuses = ask_all(house, 3 * FITS) + Counter(of_each.values())
    assert (statuses[200], statuses[429]) == (FITS, 2 * FITS + 2)
    assert len(up.calls) == FITS
    assert written(house, USED_LEASES) >= 2
    assert house.answered() == statuses.total()
    total = house.spend("model")[1]
    assert round(float(total["cost"]) * 1e9) == FITS * COST
    wait_for(lambda: shown(house) == f"{FITS * COST / 1e9:.9f}", "the budget's report")


def shown(house: House) -> str:
    """What of the budget is used."""
    used: str = house.json("budgets", "show")["rows"][0]["used"]
    return used


def test_what_a_killed_worker_had_under_way_is_settled_by_another(house: House, up: Upstream) -> None:
    """Its lease ends, its calls are charged what was held for them, the others' what they cost; a new one serves."""

    def slowly(asked: Asked) -> Play:
        told = events(Answer(("a", "b"), Usage(input_miss=5, output=OUTPUT)), "chat", usage=asked.wants_usage)
        return Play((*told[:2], Pause(1), *told[2:]), 200, SSE)

    up.hold()
    up.script.call(slowly).forever()
    with ExitStack() as opened, ThreadPoolExecutor(CALLS) as pool:
        connections, takers = zip(*(house.connected(opened) for _ in range(CALLS)), strict=True)
        ((killed, cut),) = Counter(takers).most_common(1)
        asked = [pool.submit(ask_on, each, number) for number, each in enumerate(connections)]
        wait_for(lambda: len(up.calls) == CALLS, "the calls")
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: house.ready() == 2 and killed not in house.workers(), "another worker")
        up.release()
        statuses = Counter(each.result() for each in asked)
    assert statuses == Counter({0: cut}) + Counter({200: CALLS - cut})
    wait_for(lambda: written(house, OPEN) == 0, "the settlement", within_s=ENOUGH_S)
    assert written(house, LEASES) == 2
    charged = written(house, "SELECT sum(charged_book_nano) FROM attempts")
    held = written(house, "SELECT sum(held_nano) FROM attempts WHERE estimated = 1")
    assert written(house, "SELECT count(*) FROM attempts WHERE estimated = 1") == statuses[0]
    assert charged == held + statuses[200] * COST
    wait_for(lambda: shown(house) == f"{charged / 1e9:.9f}", "the budget's report")
