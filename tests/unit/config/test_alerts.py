"""The section ``alerts``: who is told, where the relay listens, when the digest is due."""

from pathlib import Path

import pytest

from penstock.config.settings import Address, BotSettings, Secret
from penstock.server.redaction import show
from tests.support.configs import built_in, loaded, mistakes

URL = "https://oapi.dingtalk.com/robot/send?access_token=0123"
FULL = f"""alerts:
  timezone: Europe/Berlin
  relay:
    listen: relay.internal:8790
    token: s3cret
    bots:
      ops: {{kind: dingtalk, url: "{URL}", secret: SEC0123}}
      money: {{kind: wecom, url: "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=0123"}}
  digest: {{at: 08:30, bots: [money]}}
"""


def bots(entry: str, more: str = "") -> str:
    """A file with one bot, ``ops``."""
    return f"alerts: {{relay: {{bots: {{ops: {entry}}}}}{more}}}\n"


def test_nobody_is_told_where_nothing_is_said() -> None:
    """On loopback, at nine in Shanghai, no bots."""
    alerts = built_in().alerts
    assert (alerts.zone.key, alerts.listen, alerts.token) == ("Asia/Shanghai", Address("127.0.0.1", 8790), None)
    assert (dict(alerts.bots), alerts.digest_minute, alerts.digest_bots) == ({}, 9 * 60, ())


def test_everything_that_is_said_is_taken(tmp_path: Path) -> None:
    """With credentials that print as nothing."""
    alerts = loaded(FULL, tmp_path).alerts
    assert (alerts.zone.key, alerts.listen, alerts.token) == (
        "Europe/Berlin",
        Address("relay.internal", 8790),
        Secret("s3cret"),
    )
    assert alerts.bots["ops"] == BotSettings("ops", "dingtalk", Secret(URL), Secret("SEC0123"))
    assert (alerts.digest_minute, alerts.digest_bots) == (8 * 60 + 30, ("money",))
    for shown in (repr(alerts), str(show(alerts))):
        assert "0123" not in shown
        assert "s3cret" not in shown


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (bots("{kind: telegram, url: https://a.example/x}"), "dingtalk"),
        (bots("{kind: wecom, url: https://a.example/x, secret: s}"), "WeCom's bots do not sign"),
        (bots("{kind: feishu, url: ftp://a.example/x}"), "is no http or https URL"),
        (bots("{kind: feishu, url: 'https://me:pw@a.example/x'}"), "has a fragment or a user in it"),
        (bots("{kind: feishu, url: https://a.example/x}", ", digest: {bots: [opps]}"), "did you mean ops?"),
        (bots("{kind: feishu, url: https://a.example/x}", ", digest: {at: '24:00'}"), "is no time of day"),
        (bots("{kind: feishu, url: https://a.example/x}", ", digest: {at: 9}"), "is no time of day"),
        ("alerts: {relay: {listen: '0.0.0.0:8790'}}\n", "set alerts.relay.token too"),
        ("alerts: {relay: {listen: '127.0.0.1:8788'}}\n", "is an address of the server itself"),
        ("alerts: {relay: {bots: {'a/b': {kind: feishu, url: https://a.example/x}}}}\n", "is no name of a bot"),
        ("alerts: {timezone: Mars/Olympus}\n", "is no time zone"),
    ],
)
def test_a_mistake_is_named(text: str, mistake: str, tmp_path: Path) -> None:
    """One line, which shows no webhook."""
    (line,) = mistakes(text, tmp_path)
    assert mistake in line
    assert "a.example" not in line


def test_a_token_that_travels_in_the_clear_is_warned_of(tmp_path: Path) -> None:
    """Not on this machine."""
    warned = loaded(bots("{kind: feishu, url: http://a.example/x}"), tmp_path).warnings
    assert any("alerts.relay.bots.ops: its token travels unencrypted" in each for each in warned)
    quiet = loaded(bots("{kind: feishu, url: http://127.0.0.1:1/x}"), tmp_path).warnings
    assert not any("alerts" in each for each in quiet)
