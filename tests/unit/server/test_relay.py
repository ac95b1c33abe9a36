"""The relay answers Alertmanager so that it comes again exactly when that may help."""

from typing import Any

import pytest

from penstock.config.settings import Secret
from penstock.core.notice import Notice
from penstock.errors import ProviderBusy, ProviderRefused, Unreachable, UpstreamError
from penstock.server.relay import MAX_BODY_BYTES, Relay
from tests.support.asgi_client import Asking, http_scope
from tests.unit.wire.test_alertmanager import alert, body


class Chat:
    """Tells ``ops``, or fails."""

    def __init__(self, error: UpstreamError | None = None) -> None:
        self.error = error
        self.told: list[tuple[Notice, str]] = []

    def __contains__(self, name: object) -> bool:
        return name == "ops"

    async def tell(self, name: str, notice: Notice, *, news: str = "") -> bool:
        """Note it."""
        assert name == "ops"
        if self.error:
            raise self.error
        self.told.append((notice, news))
        return True


async def posted(chat: Chat, *pieces: bytes, token: str | None = None, **scope: Any) -> Asking:
    """What a notification is answered."""
    app: Any = Relay(chat, Secret(token) if token else None).app()
    made = http_scope(scope.pop("path", "/alerts/ops"), **scope)
    return await Asking(app, made, pieces or [body(alert())]).done()


async def test_a_notification_is_told_to_its_bot() -> None:
    """With its identity, so that it is told once; 200 when the bot has it."""
    chat = Chat()
    answer = await posted(chat)
    assert answer.status == 200
    ((notice, news),) = chat.told
    assert notice.title == "[1 firing] PenstockDown"
    assert len(news) == 64


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ProviderBusy("the bot is busy", retry_after_s=59.5), 503),
        (Unreachable("the bot cannot be reached", detail="http://secret"), 503),
        (ProviderRefused("the bot ops refused: 310000 sign not match"), 502),
    ],
)
async def test_what_is_not_told_is_a_5xx(error: UpstreamError, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Alertmanager repeats after these alone; the log says it too."""
    answer = await posted(Chat(error))
    assert answer.status == status
    assert answer.json == {"error": {"message": error.public}}
    assert answer.headers.get("retry-after") == ("60" if error.retry_after_s else None)
    assert [record.getMessage() for record in caplog.records] == ["a bot was not told"]


@pytest.mark.parametrize(
    ("pieces", "scope", "status"),
    [
        ((b"<html>",), {}, 400),
        ((body(),), {}, 400),
        ((body(alert()),), {"path": "/alerts/nobody"}, 404),
        ((body(alert()),), {"path": "/"}, 404),
        ((body(alert()),), {"method": "GET"}, 405),
        ((b" " * MAX_BODY_BYTES, b" "), {}, 413),
        ((body(alert()),), {"host": b"evil.example"}, 403),
        ((body(alert()),), {"headers": [(b"origin", b"http://evil.example")]}, 403),
    ],
)
async def test_what_is_wrong_is_a_4xx(pieces: tuple[bytes, ...], scope: dict[str, Any], status: int) -> None:
    """To come again with the same would not help; nobody is told."""
    chat = Chat()
    assert (await posted(chat, *pieces, **scope)).status == status
    assert chat.told == []


@pytest.mark.parametrize(
    ("shown", "status"),
    [(b"Bearer s3cret", 200), (b"bearer s3cret", 200), (b"Bearer wrong", 401), (b"s3cret", 401), (b"", 401)],
)
async def test_the_token_is_asked_for(shown: bytes, status: int) -> None:
    """Where there is one; then any Host will do."""
    chat = Chat()
    answer = await posted(chat, token="s3cret", headers=[(b"authorization", shown)], host=b"relay.internal:8790")
    assert answer.status == status
    assert len(chat.told) == (status == 200)


async def test_it_says_that_it_lives() -> None:
    """Without a token."""
    assert (await posted(Chat(), path="/healthz", method="GET", token="s3cret")).status == 200
