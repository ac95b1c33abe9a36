"""The OpenAI SDK for Node works unchanged: ``node/smoke.mjs`` is what an application would write."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from penstock.core.usage import Usage
from penstock.errors import BadAnswer
from penstock.providers.answers import Answer, events, whole
from penstock.providers.play import JSON, SSE, Pause, Play
from penstock.providers.scripted import Asked
from tests.support.gateway_process import environment
from tests.support.sdk_gateway import SdkGateway
from tests.support.upstream import Upstream

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent / "node"
PATIENCE_S = 60.0
CHECKS = (
    "whole",
    "repeated",
    "streamed",
    "streamed_with_usage",
    "tools",
    "embeddings",
    "models",
    "errors",
    "an_error_in_a_begun_stream",
)
SAID = Answer(("水 ", "and ", "stone"), Usage(input_miss=10, output=5))
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"北京"}'}}
CALLED = Answer((), Usage(input_miss=10, output=5), finish="tool_calls", tool_calls=[CALL])
VECTOR = ((0.25, -1.5),)


def scene(asked: Asked) -> Play:
    """What the provider does, by the model that it is asked for."""
    packed = asked.json.get("encoding_format") == "base64"
    match asked.json["model"], asked.dialect:
        case "up-embed", "chat":
            return Play((b'{"error": {"message": "slow down"}}',), 429, JSON)
        case "up-folded", _:
            first = events(Answer(("half",)), "chat", usage=False)[:2]
            return Play((*first, Pause(0.3), BadAnswer("scripted")), 200, SSE)
        case "busy", _:
            return _told(CALLED, asked)
        case _:
            return _told(Answer(SAID.pieces, SAID.usage, vectors=VECTOR, base64=packed), asked)


def _told(answer: Answer, asked: Asked) -> Play:
    if asked.streamed:
        return Play(events(answer, asked.dialect, usage=asked.wants_usage), 200, SSE)
    return Play((whole(answer, asked.dialect),), 200, JSON)


@pytest.fixture(scope="module")
def node() -> str:
    """The interpreter, with the SDK at hand."""
    found = shutil.which("node")
    if found is None or not (HERE / "node_modules" / "openai").is_dir():
        pytest.skip("needs node, and the SDK in tests/e2e/node/node_modules: `make ready` installs it")
    return found


@pytest.fixture(scope="module")
def results(node: str, shared_gateway: SdkGateway, shared_upstream: Upstream) -> dict[str, str]:
    """What every check said; the script runs once."""
    shared_upstream.forget()
    shared_upstream.script.call(scene).forever()
    done = subprocess.run(
        [node, "smoke.mjs", shared_gateway.base_url],
        cwd=HERE,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, str] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("check", CHECKS)
def test_the_sdk_works(results: dict[str, str], check: str) -> None:
    """What the check of that name in ``smoke.mjs`` says holds."""
    assert results[check] == "ok", results[check]


def test_every_check_is_listed(results: dict[str, str]) -> None:
    """None is written there and forgotten here."""
    assert tuple(results) == CHECKS
