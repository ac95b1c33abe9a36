"""A reload: what it takes over, what it names as waiting for a restart, and what it refuses."""

import asyncio
import hashlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.config.load import load
from penstock.config.settings import Address, Secret, Settings
from penstock.errors import ConfigError
from penstock.providers.registry import KINDS
from tests.support.house import House, chat, open_house, settings_of

pytestmark = pytest.mark.looptime

WIDE = Address("0.0.0.0", 8787)  # noqa: S104 - no socket is bound
NO_SHARING = {"exact": {"ttl": "0s"}, "join": False}
TOKEN = Secret("t")
KEY = "a-key-for-development"
STATIC = [{"name": "dev", "key_sha256": hashlib.sha256(KEY.encode()).hexdigest()}]


def listening_on(settings: Settings, *, listen: Address = WIDE, token: Secret | None = TOKEN) -> Settings:
    """The same, on this address."""
    return replace(settings, server=replace(settings.server, listen=listen, admin_token=token))


async def refusal(house: House, settings: Settings) -> str:
    """Why these settings are refused; nothing has changed then."""
    before = house.gateway.settings, house.gateway.pipeline
    with pytest.raises(ConfigError) as caught:
        await house.gateway.adopt(settings)
    assert (house.gateway.settings, house.gateway.pipeline) == before
    return caught.value.public


# --- open doors


@pytest.mark.parametrize("written", [WIDE, Address("127.0.0.1", 8787)])
async def test_a_reload_that_drops_the_last_key_of_an_open_address_is_refused(written: Address) -> None:
    """Whatever address the new file writes: the one that counts is the one that is bound."""
    async with open_house(keys=STATIC) as house:
        house.gateway.settings = listening_on(house.gateway.settings)
        wanted = listening_on(settings_of(), listen=written)
        assert "0.0.0.0:8787 is reachable from other machines and there is no key" in await refusal(house, wanted)
        assert (await house.answer(chat())).status == 401
        await house.add_key("stored")
        await house.gateway.adopt(wanted)
        assert (await house.answer(chat())).status == 401


async def test_a_reload_that_drops_the_token_of_an_open_address_is_refused() -> None:
    """Though the new file, which listens on loopback, needs none."""
    async with open_house(keys=STATIC) as house:
        house.gateway.settings = listening_on(house.gateway.settings)
        wanted = listening_on(settings_of(keys=STATIC), listen=Address("127.0.0.1", 8787), token=None)
        assert "server.admin_token is not set" in await refusal(house, wanted)


async def test_a_gateway_that_had_keys_never_opens_again(caplog: pytest.LogCaptureFixture) -> None:
    """Not on loopback either: its static keys are dropped, everybody is a stranger, and the log says why."""
    async with open_house(keys=STATIC) as house:
        house.upstream.reply().forever()
        assert (await house.answer(chat(), key=KEY)).status == 200
        await house.gateway.adopt(settings_of())
        assert not house.gateway.keyring.open
        assert "no key is left" in caplog.text
        assert [(await house.answer(chat(), key=key)).status for key in ("", KEY)] == [401, 401]
        await house.gateway.adopt(settings_of(keys=STATIC))
        assert (await house.answer(chat(), key=KEY)).status == 200


async def test_the_first_static_key_closes_an_open_gateway() -> None:
    """From the next request on."""
    async with open_house(cache=NO_SHARING) as house:
        house.upstream.reply().forever()
        assert (await house.answer(chat())).status == 200
        await house.gateway.adopt(settings_of(keys=STATIC))
        assert (await house.answer(chat())).status == 401


# --- providers that vanish


@pytest.mark.parametrize(
    ("text", "environ", "why"),
    [
        (None, {}, "is gone, and"),
        (None, {"DEEPSEEK_API_KEY": "sk-1"}, "is gone, and"),
        ("", {"DEEPSEEK_API_KEY": "sk-1"}, "names none any more"),
        ("# all of it commented out\n", {}, "names none any more"),
        ("currency: CNY\n", {}, "names none any more"),
        ("providers: {s: {kind: sim}}\n", {}, ""),
    ],
)
async def test_a_file_without_its_providers_does_not_turn_into_a_simulation(
    text: str | None, environ: dict[str, str], why: str, tmp_path: Path
) -> None:
    """A file that is gone, emptied or half written is a mistake; a simulation that is asked for by name is not."""
    path = tmp_path / "penstock.yaml"
    if text is not None:
        path.write_text(text)
    wanted = load(path if text is not None else None, environ, registry=KINDS)
    async with open_house() as house:
        if why:
            assert why in await refusal(house, wanted)
        else:
            await house.gateway.adopt(wanted)
            assert list(house.gateway.settings.models) == ["sim-chat", "sim-embed"]


# --- one at a time


async def test_of_two_reloads_at_once_the_last_holds() -> None:
    """Whichever file takes longer to read: the second waits for the first."""
    overtaken = threading.Event()

    def first() -> Settings:
        overtaken.wait(0.1)  # it would be at once, if the second did not wait
        return settings_of(limits={"max_queue": 1})

    def second() -> Settings:
        overtaken.set()
        return settings_of(limits={"max_queue": 2})

    async with open_house() as house:
        reloads = [asyncio.create_task(house.gateway.reload(load)) for load in (first, second)]
        await asyncio.gather(*reloads)
        assert house.gateway.settings.limits.max_queue == 2


# --- what is live, and what is not

RESTART: list[tuple[str, dict[str, Any]]] = [
    ("server.listen", {"server": {"listen": "127.0.0.1:9"}}),
    ("server.admin_listen", {"server": {"admin_listen": "127.0.0.1:9"}}),
    ("server.secret", {"server": {"secret": "another-pepper-of-thirty-two-bytes"}}),
    ("store", {"store": "sqlite:other.db"}),
    ("ledger.sync", {"ledger": {"sync": "full"}}),
    ("cache.exact.max_bytes", {"cache": {"exact": {"max_bytes": "1MiB"}}}),
]


@pytest.mark.parametrize(("path", "section"), RESTART)
async def test_what_needs_a_restart_is_named_until_it_has_had_one(path: str, section: dict[str, Any]) -> None:
    """Again at every reload, and the settings shown are those that hold; the old value back, and nothing waits."""
    async with open_house() as house:
        started = house.gateway.settings
        secret = {"secret": "a-pepper-of-at-least-thirty-two-bytes"}
        sections = {name: {**secret, **of} if name == "server" else of for name, of in section.items()}
        for _ in range(2):
            assert await house.gateway.adopt(settings_of(**sections)) == [path]
            held = house.gateway.settings
            assert (held.server, held.store, held.ledger, held.cache) == (
                started.server, started.store, started.ledger, started.cache,
            )  # fmt: skip
        assert await house.gateway.adopt(settings_of()) == []


async def test_the_rest_of_the_server_is_live() -> None:
    """Token, origins and drain, without a word about a restart."""
    async with open_house() as house:
        server = house.gateway.settings.server
        server = replace(server, admin_token=Secret("other"), cors=("https://a.example",), drain_s=7.0)
        assert await house.gateway.adopt(replace(house.gateway.settings, server=server)) == []
        assert house.gateway.settings.server == server


async def test_a_new_retry_budget_holds_at_once_and_forgets_nothing() -> None:
    """Neither the requests nor the retries of the last seconds."""
    async with open_house(retry={"budget": 0, "attempts": 2, "backoff": "10ms"}, cache=NO_SHARING) as house:
        house.upstream.fail(501).forever()
        for number in range(20):
            await house.answer(chat(str(number)))
        assert len(house.upstream.calls) == 30, "the floor of ten retries"
        retry = {"budget": 0.6, "attempts": 2, "backoff": "10ms"}
        await house.gateway.adopt(settings_of(retry=retry, cache=NO_SHARING))
        await house.answer(chat("more"))
        assert len(house.upstream.calls) == 32, "10 of 0.6 * 21 retries are used"
