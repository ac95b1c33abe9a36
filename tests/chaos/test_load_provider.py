"""The load provider itself: it behaves as it is told, and counts what it did."""

import asyncio
import json
import time
from collections.abc import Iterator

import pytest

from tests.support.gateway_process import wait_for
from tests.support.kill_client import Question, Told, ask
from tests.support.load_provider import LoadProvider, load_provider
from tests.support.load_provider_manner import PROMPT_TOKENS


@pytest.fixture(scope="module")
def provider() -> Iterator[LoadProvider]:
    """One for the file; every test has a deployment of its own."""
    with load_provider() as made:
        yield made


def asked(provider: LoadProvider, deployment: str, times: int = 1, *, streamed: bool = False) -> list[Told]:
    """That many at once."""
    question = Question("mk-1", "m", streamed)
    path = f"/{deployment}/v1/chat/completions"

    async def all_at_once() -> list[Told]:
        return await asyncio.gather(*(ask(provider.port, question, path) for _ in range(times)))

    return asyncio.run(all_at_once())


def test_it_answers_whole_and_streamed(provider: LoadProvider) -> None:
    """With the usage of both, and the words it is told to say."""
    provider.set("plain", words=3)
    (told,) = asked(provider, "plain")
    assert told.json["choices"][0]["message"]["content"] == "word word word "
    assert told.json["usage"]["prompt_tokens"] == PROMPT_TOKENS
    (streamed,) = asked(provider, "plain", streamed=True)
    assert (streamed.complete, streamed.body.count(b'"content":"word "')) == (True, 3)
    assert b'"completion_tokens":3' in streamed.body
    counts = provider.counts("plain")
    assert (counts.calls, counts.ok, counts.now) == (2, 2, 0)
    provider.forget("plain")
    assert provider.counts("plain").calls == 0


def test_a_share_is_refused(provider: LoadProvider) -> None:
    """About as many as it is told, with the time to wait."""
    provider.set("sick", status=503, share=0.3, retry_after_s=2)
    told = asked(provider, "sick", 200)
    refused = [each for each in told if each.status == 503]
    assert 40 <= len(refused) <= 80
    assert all(each.headers["retry-after"] == "2" for each in refused)
    assert provider.counts("sick").refused == {503: len(refused)}


@pytest.mark.parametrize("status", [401, 402])
def test_an_account_can_be_closed(provider: LoadProvider, status: int) -> None:
    """And opened again."""
    provider.set("account", status=status)
    assert asked(provider, "account")[0].status == status
    provider.set("account")
    assert asked(provider, "account")[0].status == 200


def test_beyond_its_concurrency_it_says_429(provider: LoadProvider) -> None:
    """To those who come while as many are there."""
    provider.set("narrow", concurrency=4, latency_s=0.2, retry_after_s=1)
    told = asked(provider, "narrow", 10)
    assert sorted(each.status for each in told) == [200] * 4 + [429] * 6
    assert provider.counts("narrow").most == 4


def test_workers_are_waited_for(provider: LoadProvider) -> None:
    """Two of them, fifty milliseconds each: ten take a quarter of a second."""
    provider.set("small", workers=2, service_s=0.05)
    since = time.monotonic()
    assert {each.status for each in asked(provider, "small", 10)} == {200}
    assert time.monotonic() - since >= 0.25


@pytest.mark.parametrize("streamed", [False, True])
def test_a_good_status_may_hold_nothing_good(provider: LoadProvider, streamed: bool) -> None:  # noqa: FBT001 - a parameter
    """An error, an answer without text, no answer at all."""
    provider.set("odd", says="error")
    (told,) = asked(provider, "odd", streamed=streamed)
    assert (told.status, b"overloaded" in told.body) == (200, True)
    provider.set("odd", says="empty")
    (told,) = asked(provider, "odd", streamed=streamed)
    assert b"word" not in told.body
    assert b"finish_reason" in told.body
    provider.set("odd", says="blank")
    (told,) = asked(provider, "odd", streamed=streamed)
    assert told.body == (b"0\r\n\r\n" if streamed else b"")


def test_keep_alives_come_until_the_answer_does(provider: LoadProvider) -> None:
    """Its head is there before them."""
    provider.set("waiting", head_s=0, latency_s=0.2, keep_alive_s=0.04)
    (told,) = asked(provider, "waiting", streamed=True)
    assert told.complete
    assert told.body.count(b": keep-alive") in {3, 4}


def test_an_answer_may_end_with_its_connection(provider: LoadProvider) -> None:
    """Without length and chunks."""
    provider.set("unframed", framed=False)
    (told,) = asked(provider, "unframed")
    assert json.loads(told.body)["model"] == "unframed"
    assert "content-length" not in told.headers
    (streamed,) = asked(provider, "unframed", streamed=True)
    assert streamed.body.endswith(b"data: [DONE]\n\n")
    assert provider.counts("unframed").ok == 2


@pytest.mark.parametrize(("stops", "ok"), [(True, 0), (False, 1)])
def test_who_leaves_ends_the_work_or_not(provider: LoadProvider, stops: bool, ok: int) -> None:  # noqa: FBT001 - a parameter
    """And is counted."""
    provider.set(f"left-{ok}", workers=1, service_s=0.3, stops=stops)

    async def leave() -> None:
        question = Question("mk-1", "m", streamed=False)
        asking = asyncio.ensure_future(ask(provider.port, question, f"/left-{ok}/v1/chat/completions"))
        while not (await asyncio.to_thread(provider.counts, f"left-{ok}")).now:
            pass
        asking.cancel()
        await asyncio.wait([asking])

    since = time.monotonic()
    asyncio.run(leave())
    wait_for(lambda: provider.counts(f"left-{ok}").now == 0, "the end of the call")
    assert provider.counts(f"left-{ok}").left == 1
    assert (time.monotonic() - since >= 0.3) is not stops


def test_it_may_die_and_come_back() -> None:
    """On the same port."""
    with load_provider() as provider:
        provider.kill()
        assert asked(provider, "m")[0].status == 0
        port = provider.port
        assert provider.start().port == port
        assert asked(provider, "m")[0].status == 200
