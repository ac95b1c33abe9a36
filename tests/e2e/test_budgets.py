"""Budgets as an admin sets them and two end users of one key meet them, through the openai SDK."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from penstock.core.usage import Usage
from tests.support.gateway_process import GatewayProcess, gateway_process, wait_for
from tests.support.plain_gateway import plain_config
from tests.support.sdk_gateway import cost_nano
from tests.support.upstream import Upstream

pytestmark = pytest.mark.e2e

USAGE = Usage(input_miss=500, output=300)


@pytest.fixture
def gateway(
    shared_upstream: Upstream, up: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """One model whose every answer uses 800 tokens, and a daily budget of tokens for each end user."""
    up.script.reply(usage=USAGE).forever()
    daily = {
        "name": "per-user", "scope": "user", "limit": "2000 tokens", "window": "day", "timezone": "Asia/Shanghai",
    }  # fmt: skip
    config = plain_config(shared_upstream)
    with gateway_process(tmp_path_factory.mktemp("budgets"), **config, budgets=[daily]) as made:
        yield made


def asked(client: OpenAI, model: str, user: str, number: int) -> str:
    """One question of one end user; the code of its refusal, or ``ok``."""
    try:
        client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": f"{user} {number}"}], user=user, max_tokens=300
        )
    except openai.RateLimitError as error:
        return refusal(error)
    return "ok"


def refusal(error: openai.RateLimitError) -> str:
    """Of whom, and whether the SDK was told not to ask again."""
    body: Any = error.body
    told = (body["code"], body["budget"]["budget"], error.response.headers["x-should-retry"])
    return "refused" if told == ("budget_exceeded", "per-user", "false") else str(told)


def test_two_end_users_of_one_key_have_their_own_days(gateway: GatewayProcess, up: Upstream) -> None:
    """Each is stopped at its own limit; the admin raises one of them, and it goes on at once; the books agree."""
    key = gateway.create_key("app")
    client = OpenAI(base_url=gateway.base_url, api_key=key, max_retries=2)
    model = client.models.list().data[0].id
    assert [asked(client, model, "alice", number) for number in range(3)] == ["ok", "ok", "refused"]
    assert [asked(client, model, "bob", number) for number in range(3)] == ["ok", "ok", "refused"]
    gateway.command("budgets", "set", "per-user", "--value", "alice", "--limit", "4000 tokens")
    assert [asked(client, model, "alice", number) for number in range(3, 7)] == ["ok", "ok", "ok", "refused"]
    assert asked(client, model, "bob", 4) == "refused"
    assert len(up.script.calls) == 7
    wait_for(lambda: shown(gateway) == {"alice": ("4000", "4000"), "bob": ("1600", "2000")})
    total = gateway.json("spend", "--by", "user")["total"]
    assert total["tokens"] == 7 * USAGE.total
    assert round(float(total["cost"]) * 10**9) == 7 * cost_nano(USAGE.input_miss, 0, USAGE.output)
    assert float(total["avoided"]) > 0


def shown(gateway: GatewayProcess) -> dict[str, tuple[str, str]]:
    """(used, limit) by end user, as ``penstock budgets show`` says."""
    return {row["value"]: (row["used"], row["limit"]) for row in gateway.json("budgets", "show")["rows"]}
