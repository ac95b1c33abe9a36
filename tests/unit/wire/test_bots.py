"""What bots are sent, to the byte, and what their answers mean."""

from typing import Any

import msgspec
import pytest

from penstock.core.notice import Notice, Part
from penstock.wire.bots import BOTS, Fault, clipped, plain, read, sign_dingtalk, sign_feishu, write

SECRET = "SECthis-is-a-secret"
AT = 1599360473.25
NOTICE = Notice("[1 firing] PenstockDown", "critical", (Part("critical: gone", ("instance=a:8788", "runbook.md")),))


def sent(kind: str, notice: Notice, secret: str | None = None) -> Any:
    """The document."""
    return msgspec.json.decode(write(kind, notice, secret, AT).body)


# --- signatures: golden values, made with openssl from the documented algorithms


def test_dingtalk_is_signed_in_the_query() -> None:
    """HMAC-SHA256 of milliseconds, newline, secret, under the secret; base64; percent-encoded."""
    assert sign_dingtalk(SECRET, 1577262236757) == "HhRJDmWATK%2BjoJrVQG9qdv%2FzOrIkZiG0qtqUwjMEJ1k%3D"
    post = write("dingtalk", NOTICE, SECRET, 1577262236.757)
    assert post.query == "timestamp=1577262236757&sign=HhRJDmWATK%2BjoJrVQG9qdv%2FzOrIkZiG0qtqUwjMEJ1k%3D"


def test_feishu_is_signed_in_the_body() -> None:
    """HMAC-SHA256 of nothing under seconds, newline, secret; base64."""
    assert sign_feishu(SECRET, 1599360473) == "SBOcec7C6HAEqah4FgkwVsx72VL08fSQNBhI22N60CE="
    document = sent("feishu", NOTICE, SECRET)
    assert (document["timestamp"], document["sign"]) == ("1599360473", "SBOcec7C6HAEqah4FgkwVsx72VL08fSQNBhI22N60CE=")


@pytest.mark.parametrize("kind", BOTS)
def test_without_a_secret_nothing_is_signed(kind: str) -> None:
    """Neither query nor body speaks of time or signature."""
    post = write(kind, NOTICE, None, AT)
    assert post.query == ""
    assert b"sign" not in post.body
    assert b"timestamp" not in post.body


# --- bodies


def test_dingtalk_is_sent_markdown() -> None:
    """A title for the list of chats, and a text with its heading, its parts and their lines."""
    text = "### \\[1 firing\\] PenstockDown\n\n**critical: gone**\n\n- instance=a:8788\n- runbook.md"
    document = {"msgtype": "markdown", "markdown": {"title": "[1 firing] PenstockDown", "text": text}}
    assert write("dingtalk", NOTICE, None, AT).body == msgspec.json.encode(document)


def test_feishu_is_sent_a_card() -> None:
    """The title is plain text on the colour of its tone."""
    card = {
        "config": {"wide_screen_mode": True},
        "header": {"title": {"tag": "plain_text", "content": "[1 firing] PenstockDown"}, "template": "red"},
        "elements": [{"tag": "markdown", "content": "**critical: gone**\ninstance=a:8788\nrunbook.md"}],
    }
    assert write("feishu", NOTICE, None, AT).body == msgspec.json.encode({"msg_type": "interactive", "card": card})


def test_wecom_is_sent_markdown() -> None:
    """One text; brackets, which would make a link, are full-width ones."""
    text = "### ［1 firing］ PenstockDown\n**critical: gone**\n> instance=a:8788\n> runbook.md"  # noqa: RUF001 - these
    assert write("wecom", NOTICE, None, AT).body == msgspec.json.encode(
        {"msgtype": "markdown", "markdown": {"content": text}}
    )


@pytest.mark.parametrize(
    ("kind", "escaped"),
    [
        ("dingtalk", r"\*\*a\*\* \[b\](c) \<@all\> \`d\` \_e\_ \# f"),
        ("feishu", "&#42;&#42;a&#42;&#42; &#91;b&#93;(c) &#60;@all&#62; &#96;d&#96; &#95;e&#95; &#35; f"),
        ("wecom", "＊＊a＊＊ ［b］(c) ＜@all＞ ｀d｀ _e_ ＃ f"),  # noqa: RUF001 - these
    ],
)
def test_what_is_said_is_text_and_never_markup(kind: str, escaped: str) -> None:
    """No label becomes bold, a link, code or a mention of everybody."""
    document = sent(kind, Notice("t", "info", (Part("**a** [b](c) <@all> `d` _e_ # f"),)))
    assert f"**{escaped}**" in msgspec.json.encode(document).decode().replace("\\\\", "\\")


def test_what_cannot_be_seen_is_left_out() -> None:
    """A label cannot begin a line, nor turn one around."""
    assert plain("a\nb\t c\u202ed\x00e ") == "a b c d e"


def test_a_cut_is_between_characters_and_marked() -> None:
    """Whole characters only, in so many bytes at most."""
    assert clipped("深度求索深度求索", 12) == "深度求…"
    assert clipped("深度求索", 12) == "深度求索"
    assert clipped("ab\ud800", 12) == "ab?"


# --- answers


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("dingtalk", b'{"errcode":0,"errmsg":"ok"}'),
        ("wecom", b'{"errcode":0,"errmsg":"ok"}'),
        ("feishu", b'{"code":0,"msg":"success","data":{}}'),
        ("feishu", b'{"Extra":null,"StatusCode":0,"StatusMessage":"success"}'),
    ],
)
def test_an_answer_without_a_code_of_error_is_good(kind: str, body: bytes) -> None:
    """As each of them says that it has taken the message."""
    assert read(kind, body) is None


@pytest.mark.parametrize(
    ("kind", "body", "fault"),
    [
        ("dingtalk", b'{"errcode":310000,"errmsg":"sign not match"}', Fault(310000, "sign not match", busy=False)),
        ("dingtalk", b'{"errcode":130101,"errmsg":"send too fast"}', Fault(130101, "send too fast", busy=True)),
        ("dingtalk", b'{"errcode":-1,"errmsg":"busy"}', Fault(-1, "busy", busy=True)),
        (
            "wecom",
            b'{"errcode":45009,"errmsg":"api freq out of limit"}',
            Fault(45009, "api freq out of limit", busy=True),
        ),
        ("wecom", b'{"errcode":93000,"errmsg":"invalid webhook url"}', Fault(93000, "invalid webhook url", busy=False)),
        ("feishu", b'{"code":19021,"msg":"sign match fail"}', Fault(19021, "sign match fail", busy=False)),
        ("feishu", b'{"code":9499,"msg":"Bad Request"}', Fault(9499, "Bad Request", busy=False)),
        ("feishu", b'{"code":9499,"msg":"too many request"}', Fault(9499, "too many request", busy=True)),
        ("feishu", b'{"code":11232,"msg":"frequency limited"}', Fault(11232, "frequency limited", busy=True)),
    ],
)
def test_a_refusal_in_a_200_is_one(kind: str, body: bytes, fault: Fault) -> None:
    """Its code says whether to come again."""
    assert read(kind, body) == fault


@pytest.mark.parametrize("kind", BOTS)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"errcode":"0","code":"0"}', b"\xff", b"[" * 5000])
def test_what_is_no_answer_is_none(kind: str, body: bytes) -> None:
    """It is never taken for a message that arrived."""
    with pytest.raises(ValueError, match="the answer"):
        read(kind, body)
