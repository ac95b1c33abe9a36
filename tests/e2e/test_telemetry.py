"""Traces and metrics of a real gateway, as a collector behind a real socket reads them by OpenTelemetry's messages."""

from collections.abc import Sequence
from pathlib import Path

import httpx2
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from penstock.observe.genai import CALL_DURATION, INSTRUMENTS, REQUEST_DURATION
from tests.support.collector_server import collector_server
from tests.support.gateway_process import GatewayProcess, gateway_process, wait_for
from tests.support.metrics_text import samples
from tests.support.otlp import Told, traceparent, values
from tests.support.plain_gateway import PATIENCE_S, plain_config, question
from tests.support.upstream import Upstream

pytestmark = pytest.mark.e2e

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = "penstock_traces_total", (("outcome", "sent"),)
WAITING = "penstock_traces_waiting", ()
SECRET = "a-question-that-nobody-may-read"


def ask(gateway: GatewayProcess, text: str, *, flags: str = "", stream: bool = False) -> str:
    """The id of a request that was answered. ``flags``: of its caller's trace, "" = it has none."""
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-{flags}"} if flags else {}
    body = question(f"{SECRET} {text}", stream=stream)
    url = f"{gateway.base_url}/chat/completions"
    answer = httpx2.post(url, json=body, headers=headers, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-request-id"])


def check_spans(told: Told, up: Upstream, ids: Sequence[str]) -> None:
    """Those of a whole answer, which is its caller's, and of a streamed one, a hit and a retried one, which are not."""
    exchanges = [told.span(id_) for id_ in ids]
    calls = [told.calls_of(span) for span in exchanges]
    assert [len(each) for each in calls] == [1, 1, 0, 2]
    assert len(told.spans) == 8
    assert [span.parent_span_id.hex() for span in exchanges] == [CALLER, "", "", ""]
    assert exchanges[0].trace_id.hex() == TRACE
    assert len({span.trace_id for span in told.spans}) == 4
    assert [span.status.message for span in calls[3]] == ["provider_busy", ""]
    assert {span.status.code for span in exchanges} == {Status.STATUS_CODE_UNSET}
    told_up = [asked.call.headers["traceparent"] for asked in up.calls]
    assert told_up[:4] == [traceparent(span)["traceparent"] for each in calls for span in each]
    assert told_up[4].endswith("-00")
    said = [values(span.attributes) for span in exchanges]
    assert [each["penstock.cache"] for each in said] == ["miss", "miss", "exact", "miss"]
    assert [each["gen_ai.request.stream"] for each in said] == [False, True, False, False]
    assert all(each["gen_ai.response.finish_reasons"] == ["stop"] for each in said)
    assert SECRET.encode() not in b"".join(span.SerializeToString() for span in told.spans)


def check_points(told: Told) -> None:
    """The metrics of five exchanges, if they were told: the end of a process waits two seconds for that, no longer."""
    assert told.points.keys() <= {instrument.name for instrument in INSTRUMENTS}
    for name in told.points.keys() & {CALL_DURATION.name, REQUEST_DURATION.name}:
        assert sum(point.count for point in told.points[name]) == 5
    if told.points:
        assert told.point(CALL_DURATION.name, {"error.type": "provider_busy"}).count == 1


def test_a_collector_is_told_of_what_is_recorded_and_counts_all(up: Upstream, tmp_path: Path) -> None:
    """Whole, streamed, retried, from the cache; not what its caller does not record, but that counts as well."""
    telemetry = {"sample": 1.0, "headers": {"authorization": "Basic abc"}, "service_name": "gate"}
    with collector_server() as collector:
        told = collector.told
        with gateway_process(tmp_path, telemetry={"otlp": collector.url, **telemetry}, **plain_config(up)) as gateway:
            up.script.reply("1").stream(["2", "2"]).fail(503).reply("3").reply("4")
            ids = [ask(gateway, "1", flags="01"), ask(gateway, "2", stream=True), ask(gateway, "1"), ask(gateway, "3")]
            unrecorded = ask(gateway, "4", flags="00")
            wait_for(lambda: samples(gateway.metrics())[SENT] >= 4, "the collector")
            assert samples(gateway.metrics())[WAITING] == 0
        assert collector.mistakes == []
        assert collector.credentials == {"Basic abc"}
        assert {(each["service.name"], len(each)) for each in told.resources} == {("gate", 3)}
        check_spans(told, up, ids)
        assert unrecorded not in {values(span.attributes).get("penstock.exchange.id") for span in told.spans}
        check_points(told)
