"""What a reload of ``penstock alerts relay`` takes over, and what it refuses."""

import asyncio
from pathlib import Path

import pytest

from penstock.cli.alerts_relay import Relaying
from penstock.clock import LoopClock
from penstock.config.settings import Settings
from penstock.providers.chat import Chat
from penstock.providers.scripted import Scripted
from penstock.server.serve_relay import Beside, again
from tests.support.configs import loaded

pytestmark = pytest.mark.looptime

WIDE = "192.0.2.1:8790"


class Files:
    """What is read, one after the other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.text = ""

    def load(self) -> Settings:
        """Raises ConfigError."""
        return loaded(self.text, self._directory)

    def write(self, *bots: str, listen: str = "127.0.0.1:8790", shows: str = "one", digest: str = "") -> None:
        """With these bots; ``shows``: what Alertmanager does; ``digest``: who is told."""
        named = ", ".join(f'{name}: {{kind: wecom, url: "https://bots.example/?key=0123"}}' for name in bots)
        secret = f"token: {shows}, " if shows else ""
        relay = f"{{listen: '{listen}', {secret}bots: {{{named}}}}}"
        self.text = f"store: memory\nalerts: {{relay: {relay}, digest: {{bots: [{digest}]}}}}\n"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """None yet."""
    return Files(tmp_path)


def relaying(files: Files) -> tuple[Relaying, Chat]:
    """As the first file says."""
    settings, clock = files.load(), LoopClock(1_795_000_000.0)
    chat = Chat(settings.alerts.bots, Scripted(clock), clock)
    return Relaying(settings, files.load, chat, clock), chat


def shown(each: Relaying) -> str | None:
    """What Alertmanager has to show to it."""
    return each.relay.token.reveal() if each.relay.token else None


async def test_bots_and_token_are_taken_over(files: Files) -> None:
    """Those that are new are told, those that are gone are not, and the log says what waits for a restart."""
    files.write("a", "b")
    each, chat = relaying(files)
    files.write("b", "c", shows="two", listen="127.0.0.1:8791")
    await each.reload()
    assert [name in chat for name in "abc"] == [False, True, True]
    assert shown(each) == "two"


async def test_what_waits_for_a_restart_is_named(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    """Where it listens."""
    caplog.set_level("INFO")
    files.write("a")
    each, _ = relaying(files)
    files.write("a", listen="127.0.0.1:8791")
    await each.reload()
    assert caplog.records[-1].__dict__["needs_restart"] == ["alerts.relay.listen"]


async def test_an_address_that_others_reach_keeps_its_token(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    """Though the new file, which listens on loopback, needs none: the one that is bound counts."""
    files.write("a", listen=WIDE)
    each, chat = relaying(files)
    files.write("b", shows="")
    await each.reload()
    assert shown(each) == "one"
    assert "a" in chat
    assert "192.0.2.1:8790 is reachable from other machines" in str(caplog.records[-1].__dict__["mistakes"])


async def test_the_digest_is_begun_anew_only_where_it_is_another(files: Files) -> None:
    """A message that is under way is not cut off for the sake of a bot that is added."""
    files.write("a", digest="a")
    each, _ = relaying(files)
    await each.begin()
    before = asyncio.all_tasks()
    files.write("a", "b", digest="a")
    await each.reload()
    assert asyncio.all_tasks() == before
    files.write("a", "b", digest="b")
    await each.reload()
    assert len(asyncio.all_tasks() - before) == 1
    await each.beside.end()


async def test_what_ends_by_itself_is_noticed() -> None:
    """With its error; one that was replaced, or ended by us, is not."""

    async def fail() -> None:
        await asyncio.sleep(1)
        raise ValueError

    beside = Beside()
    await beside.put(asyncio.sleep(9))
    await beside.put(fail())
    assert not beside.over.is_set()
    await beside.over.wait()
    with pytest.raises(ValueError, match=r"^$"):
        await beside.end()
    await beside.end()


async def test_a_reload_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it fails of: it is logged, and the next one is begun."""
    due, begun = asyncio.Event(), list[str]()

    async def reload() -> None:
        begun.append("one")
        raise ValueError

    reloading = asyncio.ensure_future(again(due, reload))
    for _ in range(2):
        due.set()
        await asyncio.sleep(1)
    reloading.cancel()
    await asyncio.wait([reloading])
    assert len(begun) == 2
    assert reloading.cancelled()
    assert [record.message for record in caplog.records] == ["the config could not be reloaded"] * 2
