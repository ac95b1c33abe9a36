"""What a collector is told of exchanges, in a whole gateway: the spans of each, and what providers are told of them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from penstock.observe.exposition import Format
from penstock.pipeline.trace import Mark, Measured, Traced
from penstock.ports.telemetry import CollectorAnswer
from tests.support.house import House, chat, message, open_house
from tests.support.otlp import KeptCollector, Told, traceparent, values

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
RECORDED = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "shop=1"}
UNRECORDED = {"traceparent": f"00-{TRACE}-{CALLER}-00"}


@asynccontextmanager
async def traced(
    collector: KeptCollector | None = None, config: Mapping[str, Any] | None = None, **telemetry: Any
) -> AsyncIterator[tuple[House, KeptCollector]]:
    """A house that records everything."""
    collector = collector or KeptCollector()
    section = {"otlp": "http://127.0.0.1:4318", "sample": 1.0, **telemetry}
    async with open_house(collector=collector, telemetry=section, **(config or {})) as house:
        yield house, collector


async def told(house: House, collector: KeptCollector) -> Told:
    """Everything so far."""
    await house.rest()
    await house.gateway.telemetry.traces.flush()
    await house.gateway.telemetry.tell_metrics()
    return collector.told


def sent(house: House, call: int) -> Mapping[str, str]:
    """What of the trace the provider was told with a call."""
    headers = house.upstream.calls[call].call.headers
    return {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}


@pytest.mark.looptime
@pytest.mark.parametrize("stream", [False, True])
async def test_an_exchange_is_told_with_its_call_its_answer_and_its_price(*, stream: bool) -> None:
    """Streamed or whole, and what was asked is not."""
    async with traced() as (house, collector):
        house.upstream.stream(["a", "b"], model="m-1-2026")
        asking = await house.answer(chat("a secret", stream=stream), headers=RECORDED)
        spans = await told(house, collector)
        exchange = spans.span(asking.headers["x-request-id"])
        (call,) = spans.calls_of(exchange)
        assert (exchange.trace_id.hex(), exchange.parent_span_id.hex()) == (TRACE, CALLER)
        assert sent(house, 0) == {**traceparent(call), "tracestate": "shop=1"}
        said = values(exchange.attributes)
        assert said["gen_ai.response.model"] == values(call.attributes)["gen_ai.response.model"] == "m-1-2026"
        assert said["gen_ai.response.finish_reasons"] == ["stop"]
        assert said["penstock.cost_nano"] == house.exchanges[0].cost_nano
        assert (said["penstock.cache"], said["gen_ai.request.stream"]) == ("miss", stream)
        stages = [event.name.rpartition(".")[2] for event in exchange.events]
        assert stages[:3] == ["identify", "admit", "once"]
        assert stages[-2:] == ["reserve", "first_byte"]
        assert b"a secret" not in b"".join(span.SerializeToString() for span in spans.spans)


@pytest.mark.looptime
async def test_each_retry_is_a_span_that_its_provider_knows() -> None:
    """What failed says so, and the exchange is well."""
    async with traced() as (house, collector):
        house.upstream.fail(503).reply("hi")
        asking = await house.answer(chat())
        spans = await told(house, collector)
        exchange = spans.span(asking.headers["x-request-id"])
        failed, well = spans.calls_of(exchange)
        assert [sent(house, call) for call in (0, 1)] == [traceparent(failed), traceparent(well)]
        assert (failed.status.code, failed.status.message) == (Status.STATUS_CODE_ERROR, "provider_busy")
        assert well.status.code == exchange.status.code == Status.STATUS_CODE_UNSET
        assert failed.end_time_unix_nano < well.start_time_unix_nano


@pytest.mark.looptime
async def test_a_hedge_and_the_call_that_it_beat_are_spans() -> None:
    """Both below the exchange, the one that lost by name."""
    pair = {"deployments": [{"provider": "one", "model": "m-1"}, {"provider": "two", "model": "m-2", "weight": 0}]}
    models = {"usual": pair, "m": pair | {"hedge": True}}
    async with traced(config={"models": models}) as (house, collector):
        house.upstream.stream(["a"], after_s=0.1).forever()
        for number in range(30):
            await house.answer(chat(f"{number}", model="usual", stream=True))
        house.gateway.standing.fleet.watch()
        house.upstream.at("one").stream(["late"], after_s=10)
        house.upstream.at("two").stream(["soon"], after_s=0.2)
        asking = await house.answer(chat(stream=True))
        spans = await told(house, collector)
        lost, won = spans.calls_of(spans.span(asking.headers["x-request-id"]))
        assert (lost.status.message, won.status.message) == ("hedge_lost", "")
        assert [sent(house, call) for call in (-2, -1)] == [traceparent(lost), traceparent(won)]


@pytest.mark.looptime
async def test_a_hit_is_a_span_without_a_call() -> None:
    """And says what it saved, and of which model the answer was."""
    async with traced() as (house, collector):
        house.upstream.reply("hi", model="m-1-2026")
        await house.answer(chat())
        asking = await house.answer(chat())
        spans = await told(house, collector)
        exchange = spans.span(asking.headers["x-request-id"])
        said = values(exchange.attributes)
        assert not spans.calls_of(exchange)
        assert (said["penstock.cache"], said["penstock.cost_nano"]) == ("exact", 0)
        assert said["penstock.saved_nano"] == house.exchanges[0].cost_nano
        assert said["gen_ai.response.model"] == "m-1-2026"
        assert [event.name for event in exchange.events][-2:] == ["penstock.stage.limit", "penstock.first_byte"]


@pytest.mark.looptime
async def test_a_failure_is_an_error_by_its_name() -> None:
    """As the client was told."""
    async with traced(config={"retry": {"attempts": 1}}) as (house, collector):
        house.upstream.fail(400)
        asking = await house.answer(chat())
        exchange = (await told(house, collector)).span(asking.headers["x-request-id"])
        assert exchange.status.code == Status.STATUS_CODE_ERROR
        assert values(exchange.attributes)["error.type"] == exchange.status.message == "provider_refused"


@pytest.mark.looptime
async def test_a_caller_decides_what_is_recorded_of_its_traces() -> None:
    """The share is of those that begin here; each is carried on."""
    async with traced(sample=0.0) as (house, collector):
        for number, headers in enumerate((RECORDED, UNRECORDED, {}, {"traceparent": "garbage"})):
            await house.answer(chat(f"{number}"), headers=headers)
        spans = await told(house, collector)
        assert [span.trace_id.hex() for span in spans.spans] == [TRACE, TRACE]
        carried = [sent(house, call)["traceparent"].split("-") for call in range(4)]
        assert [trace for _, trace, _, _ in carried[:2]] == [TRACE, TRACE]
        assert [flags for *_, flags in carried] == ["01", "00", "02", "02"]
        assert len({trace for _, trace, _, _ in carried}) == 3


@pytest.mark.looptime
async def test_strangers_leave_no_span() -> None:
    """Whoever reaches the port could fill the line."""
    async with traced(config={"keys": [{"name": "k", "key_sha256": "0" * 64}]}) as (house, collector):
        asking = await house.answer(chat(), headers=RECORDED)
        assert asking.status == 401
        assert not (await told(house, collector)).spans


@pytest.mark.looptime
async def test_what_was_said_is_told_where_the_config_says_so_and_it_is_not_sensitive() -> None:
    """Both sides of it."""
    async with traced(content=True) as (house, collector):
        house.upstream.reply("hello").forever()
        asked = [
            await house.answer(chat("open")),
            await house.answer(chat("shut"), headers={"x-penstock-sensitive": "true"}),
        ]
        spans = await told(house, collector)
        opened, shut = (values(spans.span(each.headers["x-request-id"]).attributes) for each in asked)
        assert "open" in opened["penstock.request.body"]
        assert "hello" in opened["penstock.answer.body"]
        assert not {"penstock.request.body", "penstock.answer.body"} & shut.keys()


@pytest.mark.looptime
async def test_exemplars_name_the_trace_where_it_is_recorded() -> None:
    """So that a graph leads to it."""
    async with traced(sample=0.0) as (house, _):
        await house.answer(chat("1"), headers=RECORDED)
        await house.rest()
        assert f'trace_id="{TRACE}"' in house.gateway.metrics.render(Format.OPENMETRICS).decode()
        await house.answer(chat("2"), headers=UNRECORDED)
        await house.rest()
        last = [
            each for each in house.gateway.metrics.render(Format.OPENMETRICS).decode().splitlines() if "# {" in each
        ]
        assert any("trace_id" not in each for each in last)


@pytest.mark.looptime
async def test_metrics_are_told_of_every_exchange() -> None:
    """Whether it is recorded or not, in any dialect."""
    async with traced(sample=0.0, traces=False) as (house, collector):
        await house.answer(chat("1"))
        await house.answer(message("2", stream=True))
        points = (await told(house, collector)).points
        assert sum(point.count for point in points["gen_ai.server.request.duration"]) == 2
        assert sum(point.count for point in points["gen_ai.client.operation.duration"]) == 2
        assert [point.count for point in points["gen_ai.server.time_to_first_token"]] == [1]
        assert all(
            values(point.attributes)["gen_ai.operation.name"] == "chat" for point in points["gen_ai.client.token.usage"]
        )
        assert sent(house, 0) == {}


@pytest.mark.looptime
@pytest.mark.parametrize("answer", [None, CollectorAnswer(429, retry_after_s=60), CollectorAnswer(401)])
async def test_requests_do_not_notice_what_the_collector_does(answer: CollectorAnswer | None) -> None:
    """Away, busy or refusing."""
    collector = KeptCollector()
    collector.answers = [answer] * 100
    async with traced(collector) as (house, _):
        for number in range(5):
            asking = await house.answer(chat(f"{number}"))
            assert (asking.status, house.exchanges[-1].duration_s) == (200, 0)
            await told(house, collector)
        assert len(collector.posts) == 2


@pytest.mark.looptime
async def test_off_it_is_absent() -> None:
    """Not a stage, not a header, not a count."""
    async with open_house() as house:
        stages = house.gateway.pipeline.stages
        await house.answer(chat(), headers=RECORDED)
        assert not [stage for stage in stages if isinstance(stage, Mark | Measured | Traced)]
        assert sent(house, 0) == {}
        assert len(house.gateway.telemetry.traces) == 0


@pytest.mark.looptime
async def test_a_reload_switches_it_on_and_off() -> None:
    """From the next request on; what waits then is dropped."""
    async with traced() as (house, collector):
        on = house.gateway.settings
        await house.answer(chat("1"))
        async with open_house() as other:
            await house.gateway.adopt(other.gateway.settings)
        await house.answer(chat("2"))
        assert not (await told(house, collector)).spans
        await house.gateway.adopt(on)
        await house.answer(chat("3"))
        assert len((await told(house, collector)).spans) == 2
        assert house.gateway.telemetry.traces.tally.dropped == 1


@pytest.mark.looptime
async def test_the_end_of_the_gateway_tells_the_rest_and_waits_for_nobody() -> None:
    """A collector that never answers holds it for two seconds."""

    class Silent(KeptCollector):
        async def post(self, path: str, body: bytes) -> CollectorAnswer:
            await asyncio.sleep(3600)
            return await super().post(path, body)

    async with traced() as (house, collector):
        await house.answer(chat("1"))
    assert len(collector.told.spans) == 2
    assert collector.told.points
    async with traced(Silent()) as (house, _):
        await house.answer(chat("1"))
        since = house.now
    assert asyncio.get_running_loop().time() - since == pytest.approx(2)
