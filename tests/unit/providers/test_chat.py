"""Bots are told in order, within Alertmanager's patience, not too often, and of the same news once. Virtual time."""

import asyncio
from collections.abc import Mapping

import pytest

from penstock.clock import LoopClock
from penstock.config.settings import BotSettings, Secret
from penstock.core.notice import Notice, Part
from penstock.errors import BadAnswer, ProviderBusy, ProviderRefused, Unreachable, UpstreamError
from penstock.ports.providers import UpstreamCall, UpstreamResponse
from penstock.providers.chat import MAX_WAITING, PATIENCE_S, SAME_NEWS_S, Chat

pytestmark = pytest.mark.looptime

OK = b'{"errcode":0,"errmsg":"ok"}'
FAST = b'{"errcode":130101,"errmsg":"send too fast, exceed 20 times per minute"}'
URL = "http://127.0.0.1:1/robot/send?access_token=0123456789abcdef"
NOTICE = Notice("t", "info", (Part("p"),))


class Response:
    """One that is there at once."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {}
        self._body = body

    async def read(self, limit: int) -> bytes:
        """All of it."""
        assert len(self._body) <= limit
        return self._body

    async def next(self) -> bytes:
        """Not asked for."""
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing to do."""


class Line:
    """A transport that plays answers, then takes everything; it notes when it was asked what."""

    def __init__(self, *answers: tuple[int, bytes] | UpstreamError | None, took_s: float = 0.0) -> None:
        """None = silence; ``took_s``: how long each answer takes."""
        self.answers = list(answers)
        self.took_s = took_s
        self.calls: list[tuple[float, UpstreamCall]] = []
        self.now = 0
        self.most_at_once = 0

    async def send(self, call: UpstreamCall) -> UpstreamResponse:
        """As the script says."""
        self.calls.append((asyncio.get_running_loop().time(), call))
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        try:
            await asyncio.sleep(self.took_s)
            answer = self.answers.pop(0) if self.answers else (200, OK)
            if answer is None:
                await asyncio.Event().wait()
            if isinstance(answer, UpstreamError):
                raise answer
            assert answer is not None
            return Response(*answer)
        finally:
            self.now -= 1

    async def close(self) -> None:
        """Nothing to do."""


def chat(line: Line, kind: str = "dingtalk", secret: str | None = None) -> Chat:
    """With one bot, ``ops``."""
    bot = BotSettings("ops", kind, Secret(URL), Secret(secret) if secret else None)
    return Chat({"ops": bot}, line, LoopClock(1_763_800_000.0))


def times(line: Line) -> list[float]:
    """When it was asked, since the first time."""
    return [round(at - line.calls[0][0], 3) for at, _ in line.calls]


async def test_a_message_is_posted_once() -> None:
    """To the webhook, signed, as JSON; 200 and no code of error is done."""
    line = Line()
    assert await chat(line, secret="SEC").tell("ops", NOTICE)
    ((_, call),) = line.calls
    assert call.method == "POST"
    assert call.url.startswith(f"{URL}&timestamp=1763800")
    assert "&sign=" in call.url
    assert call.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "trouble", [(200, FAST), (429, b""), (503, b"<html>"), (200, b"<html>"), Unreachable("the bot cannot be reached")]
)
async def test_what_may_go_better_is_tried_again(trouble: tuple[int, bytes] | UpstreamError) -> None:
    """After 1, 2 and 4 s; the bot has it in the end."""
    line = Line(trouble, trouble, trouble)
    assert await chat(line).tell("ops", NOTICE)
    assert times(line) == [0.0, 1.0, 3.0, 7.0]


async def test_what_goes_no_better_fails_within_the_patience() -> None:
    """Alertmanager is told before it gives us up, with the bot's reason."""
    line = Line(*[(200, FAST)] * 9)
    with pytest.raises(ProviderBusy, match="the bot ops refused: 130101 send too fast"):
        await chat(line).tell("ops", NOTICE)
    assert times(line) == [0.0, 1.0, 3.0, 7.0]


async def test_a_silent_bot_is_not_waited_for_longer() -> None:
    """The last trouble, or that it did not answer."""
    line = Line((503, b""), None)
    begun = asyncio.get_running_loop().time()
    with pytest.raises(UpstreamError, match="the bot ops"):
        await chat(line).tell("ops", NOTICE)
    assert asyncio.get_running_loop().time() - begun <= PATIENCE_S + 0.1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, b'{"errcode":310000,"errmsg":"sign not match"}'), "310000 sign not match"),
        ((200, b'{"errcode":300001,"errmsg":"token 0123456789abcdef is not exist"}'), "token \\*\\*\\* is not exist"),
        ((404, b"<html>"), "status 404"),
        ((302, b""), "status 302"),
    ],
)
async def test_what_goes_no_better_is_not_tried_again(answer: tuple[int, bytes], words: str) -> None:
    """The bot's own words are told, but for what of its webhook is in them."""
    line = Line(answer)
    with pytest.raises(ProviderRefused, match=words) as raised:
        await chat(line).tell("ops", NOTICE)
    assert len(line.calls) == 1
    assert "0123456789abcdef" not in f"{raised.value.public} {raised.value.detail}"


async def test_the_same_news_is_told_once() -> None:
    """Within four minutes; also by two at once. After that it is a reminder, and other news is news."""
    line = Line(took_s=0.5)
    bots = chat(line)
    assert sorted(await asyncio.gather(*(bots.tell("ops", NOTICE, news="a") for _ in range(3)))) == [False, False, True]
    assert await bots.tell("ops", NOTICE, news="b")
    await asyncio.sleep(SAME_NEWS_S)
    assert await bots.tell("ops", NOTICE, news="a")
    assert len(line.calls) == 3


async def test_news_that_was_not_told_is_news() -> None:
    """A failure is not remembered."""
    line = Line((404, b""))
    bots = chat(line)
    with pytest.raises(ProviderRefused):
        await bots.tell("ops", NOTICE, news="a")
    assert await bots.tell("ops", NOTICE, news="a")


@pytest.mark.parametrize(("kind", "a_minute"), [("wecom", 20), ("dingtalk", 20), ("feishu", 100)])
async def test_no_more_are_sent_in_a_minute_than_a_bot_takes(kind: str, a_minute: int) -> None:
    """What comes beyond waits as long as Alertmanager does, and is then refused; a minute later it goes."""
    body = b'{"code":0,"errcode":0}'
    line = Line(*[(200, body)] * 2 * a_minute)
    bots = chat(line, kind)
    for _ in range(a_minute):
        await bots.tell("ops", NOTICE)
    with pytest.raises(ProviderBusy, match="may not be told more this minute"):
        await bots.tell("ops", NOTICE)
    await asyncio.sleep(60 - PATIENCE_S)
    assert await bots.tell("ops", NOTICE)
    assert len(line.calls) == a_minute + 1


async def test_messages_wait_in_line_and_the_line_is_bounded() -> None:
    """One at a time; beyond the bound nobody waits."""
    line = Line(took_s=1.0)
    bots = chat(line)
    told = await asyncio.gather(*(bots.tell("ops", NOTICE) for _ in range(MAX_WAITING + 2)), return_exceptions=True)
    assert line.most_at_once == 1
    assert sum(each is True for each in told) == 9 - 1
    assert sum("messages wait for the bot" in str(each) for each in told) == 2
    assert await bots.tell("ops", NOTICE)


async def test_an_answer_that_is_none_is_no_success() -> None:
    """A proxy's page in the place of the bot is told as what it is."""
    line = Line(*[(200, b"<html>")] * 9)
    with pytest.raises(BadAnswer, match="did not answer as one of dingtalk"):
        await chat(line).tell("ops", NOTICE)


async def test_a_bot_that_stays_remembers_what_it_was_told() -> None:
    """Though its webhook is another after a reload; one that went and came back does not."""
    line = Line()
    chatting, moved = chat(line), BotSettings("ops", "dingtalk", Secret(URL.replace("0123", "4567")), None)
    assert await chatting.tell("ops", NOTICE, news="n")
    chatting.adopt({"ops": moved})
    assert not await chatting.tell("ops", NOTICE, news="n")
    assert await chatting.tell("ops", NOTICE, news="other")
    assert [call.url for _, call in line.calls] == [URL, moved.url.reveal()]
    chatting.adopt({})
    chatting.adopt({"ops": moved})
    assert await chatting.tell("ops", NOTICE, news="n")
