r"""What the bots of group chats are sent, and what they answer.

- DingTalk (https://open.dingtalk.com/document/robots/custom-robot-access): ``timestamp`` (ms) and ``sign`` in the
  query, HMAC-SHA256 of ``timestamp\nsecret`` under the secret; 20 messages a minute; 20,000 bytes.
- Feishu and Lark (https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot): ``timestamp`` (s) and ``sign`` in
  the body, HMAC-SHA256 of nothing under ``timestamp\nsecret``; 100 messages a minute, 5 a second; 20 KiB.
- WeCom (https://developer.work.weixin.qq.com/document/path/91770): not signed; 20 messages a minute; 4096 bytes of
  markdown.

All answer 200 to what they refuse: the code in the body tells. What stands in a notice is text, never markup: the
characters that a chat would obey are escaped as it wants it; WeCom, which knows no escape, gets their full-width forms.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from penstock.core.notice import Notice, Part

MOST_TITLE_BYTES: Final = 200
MOST_LINE_BYTES: Final = 600
"""Of one line before it is escaped, which makes it six times as long at most."""
_ROOM_FOR_MORE: Final = 64

_encode = msgspec.json.encode


class Post(NamedTuple):
    """What is sent: ``query`` is added to the webhook's own."""

    query: str
    body: bytes


class Fault(NamedTuple):
    """Why a bot did not take a message. ``busy``: it may take it later."""

    code: int
    words: str
    busy: bool


@dataclass(frozen=True, slots=True)
class Manner:
    """How one kind of bot is spoken to."""

    most_bytes: int
    """Of the text, counted as JSON: never less than it is."""
    escape: Callable[[str], str]
    layout: Callable[[str, Part], Iterator[str]]
    """Its title, or "", and a part, as lines."""
    post: Callable[[str, str, Notice, str | None, float], Post]
    """From title, text, notice, secret and epoch seconds."""
    code: str
    words: str
    """Where its answer has code and words."""
    busy: frozenset[int]
    """Codes that mean: too often, or try again."""
    per_minute: int


def write(kind: str, notice: Notice, secret: str | None, now: float) -> Post:
    """The message. ``now``: epoch seconds, of the signature."""
    manner = MANNERS[kind]
    title = clipped(plain(notice.title), MOST_TITLE_BYTES)
    text = _fitted(list(_lines(manner, title, notice.parts)), manner.most_bytes)
    return manner.post(title, text, notice, secret, now)


def read(kind: str, body: bytes) -> Fault | None:
    """What a bot's answer means; None = it was told. Raises ValueError for what is no answer of such a bot."""
    manner = MANNERS[kind]
    try:
        answer = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("the answer is no JSON object") from None
    code = answer.get(manner.code, answer.get("StatusCode"))
    if not isinstance(code, int) or isinstance(code, bool):
        raise ValueError(f"the answer has no {manner.code}")  # noqa: TRY004 - a bad answer, whatever is bad in it
    if code == 0:
        return None
    words = plain(str(answer.get(manner.words, "")))[:200]
    return Fault(code, words, code in manner.busy or "too many request" in words.lower())


def sign_dingtalk(secret: str, milliseconds: int) -> str:
    """The ``sign`` of the query, percent-encoded."""
    digest = hmac.new(secret.encode(), f"{milliseconds}\n{secret}".encode(), hashlib.sha256).digest()
    encoded = base64.b64encode(digest).decode()
    return encoded.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")


def sign_feishu(secret: str, seconds: int) -> str:
    """The ``sign`` of the body."""
    return base64.b64encode(hmac.new(f"{seconds}\n{secret}".encode(), b"", hashlib.sha256).digest()).decode()


# --- text


def plain(text: str) -> str:
    """On one line, without what cannot be seen."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def clipped(text: str, most_bytes: int) -> str:
    """As much of it as fits, in whole characters, with a mark where something is missing."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= most_bytes:
        return raw.decode()
    return raw[: most_bytes - len("…".encode())].decode("utf-8", "ignore") + "…"


def _lines(manner: Manner, title: str, parts: Sequence[Part]) -> Iterator[str]:
    yield from manner.layout(manner.escape(title), Part(""))
    for part in parts:
        cut = (manner.escape(clipped(plain(line), MOST_LINE_BYTES)) for line in (part.heading, *part.lines))
        heading, *lines = cut
        yield from manner.layout("", Part(heading, tuple(lines)))


def _fitted(lines: Sequence[str], most_bytes: int) -> str:
    """The first of them, as many as fit, and how many did not."""
    room, kept = most_bytes - 2, 0
    sizes = [len(_encode(line)) for line in lines]  # the quotes stand for the end of the line
    if sum(sizes) <= room:
        return "\n".join(lines)
    room -= _ROOM_FOR_MORE
    while sizes[kept] <= room:
        room -= sizes[kept]
        kept += 1
    return "\n".join([*lines[:kept], f"… {len(lines) - kept} more lines"])


_DINGTALK: Final = re.compile(r"([\\`*_\[\]<>#~|!])")
_FEISHU: Final = re.compile(r"[\\`*_\[\]<>#~|!&]")
_WECOM: Final = {
    "`": "\uff40",
    "*": "\uff0a",
    "<": "\uff1c",
    ">": "\uff1e",
    "[": "\uff3b",
    "]": "\uff3d",
    "#": "\uff03",
}


def _escape_dingtalk(text: str) -> str:
    return _DINGTALK.sub(r"\\\1", text)


def _escape_feishu(text: str) -> str:
    return _FEISHU.sub(lambda found: f"&#{ord(found[0])};", text)


def _escape_wecom(text: str) -> str:
    return "".join(_WECOM.get(char, char) for char in text)


# --- layout


def _layout_dingtalk(title: str, part: Part) -> Iterator[str]:
    """A single line break is none there."""
    if title:
        yield f"### {title}"
    if part.heading:
        yield f"\n**{part.heading}**\n"
    yield from (f"- {line}" for line in part.lines)


def _layout_feishu(_title: str, part: Part) -> Iterator[str]:
    """The title is the card's own."""
    if part.heading:
        yield f"**{part.heading}**"
    yield from part.lines


def _layout_wecom(title: str, part: Part) -> Iterator[str]:
    if title:
        yield f"### {title}"
    if part.heading:
        yield f"**{part.heading}**"
    yield from (f"> {line}" for line in part.lines)


# --- messages

_COLOURS: Final[Mapping[str, str]] = {"critical": "red", "warning": "orange", "info": "blue", "good": "green"}


def _post_dingtalk(title: str, text: str, _notice: Notice, secret: str | None, now: float) -> Post:
    milliseconds = int(now * 1000)
    query = f"timestamp={milliseconds}&sign={sign_dingtalk(secret, milliseconds)}" if secret else ""
    return Post(query, _encode({"msgtype": "markdown", "markdown": {"title": title, "text": text}}))


def _post_feishu(title: str, text: str, notice: Notice, secret: str | None, now: float) -> Post:
    seconds = int(now)
    signed = {"timestamp": str(seconds), "sign": sign_feishu(secret, seconds)} if secret else {}
    card = {
        "config": {"wide_screen_mode": True},
        "header": {
            "title": {"tag": "plain_text", "content": title},
            "template": _COLOURS.get(notice.tone, "blue"),
        },
        "elements": [{"tag": "markdown", "content": text or title}],
    }
    return Post("", _encode({**signed, "msg_type": "interactive", "card": card}))


def _post_wecom(_title: str, text: str, _notice: Notice, _secret: str | None, _now: float) -> Post:
    return Post("", _encode({"msgtype": "markdown", "markdown": {"content": text}}))


MANNERS: Final[Mapping[str, Manner]] = {
    "dingtalk": Manner(
        19_000, _escape_dingtalk, _layout_dingtalk, _post_dingtalk, "errcode", "errmsg",
        frozenset({-1, 90018, 90030, 130101, 410100}), 20,
    ),
    "feishu": Manner(
        19_000, _escape_feishu, _layout_feishu, _post_feishu, "code", "msg", frozenset({2200, 11232}), 100
    ),
    "wecom": Manner(
        4_096, _escape_wecom, _layout_wecom, _post_wecom, "errcode", "errmsg", frozenset({-1, 45009, 45033}), 20
    ),
}  # fmt: skip

BOTS: Final = tuple(MANNERS)
