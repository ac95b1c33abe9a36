"""Whatever is to be told fits into what a bot takes, in whole characters, and says how much is missing.

Whatever Alertmanager and bots send is read, or refused with a ValueError.
"""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.notice import TONES, Notice, Part
from penstock.wire.alertmanager import notice_of, read_group
from penstock.wire.bots import BOTS, read, write

MOST_BYTES = {"dingtalk": 20_000, "feishu": 20 * 1024, "wecom": 4096}

# Of few characters, the worst there are: many lines are long ones.
WORDS = st.builds(lambda text, times: text * times, st.text('深a"\\*<\n\U0001f4b8', max_size=4), st.integers(0, 400))
PARTS = st.builds(Part, WORDS, st.lists(WORDS, max_size=12).map(tuple))
NOTICES = st.builds(Notice, WORDS, st.sampled_from(TONES), st.lists(PARTS, max_size=12).map(tuple))


def size(kind: str, body: bytes) -> int:
    """Of what the limit is of: WeCom's is of the text."""
    return len(msgspec.json.decode(body)["markdown"]["content"].encode()) if kind == "wecom" else len(body)


@given(notice=NOTICES, kind=st.sampled_from(BOTS))
def test_every_message_fits(notice: Notice, kind: str) -> None:
    """Within the bot's limit, and valid JSON."""
    body = write(kind, notice, "a-secret", 1e9).body
    assert size(kind, body) <= MOST_BYTES[kind]
    assert msgspec.json.decode(body)


@given(lines=st.integers(1, 300), kind=st.sampled_from(BOTS))
def test_what_is_left_out_is_counted(lines: int, kind: str) -> None:
    """The lines that are there and the number that is told make up all of them."""
    notice = Notice("t", "info", (Part("p", tuple(f"line {number} " + "x" * 90 for number in range(lines))),))
    text = msgspec.json.encode(msgspec.json.decode(write(kind, notice, None, 1e9).body)).decode()
    shown = len(re.findall(r"line \d+ x", text))
    more = re.search(r"… (\d+) more lines", text)
    assert shown + (int(more[1]) if more else 0) == lines
    assert shown >= min(lines, 20)


NAMES = st.sampled_from(["alertname", "severity", "summary", "description", "runbook", "a"])
LABELS = st.dictionaries(NAMES, st.text(max_size=20), max_size=4)
ALERTS = st.fixed_dictionaries(
    {"labels": LABELS},
    optional={
        "status": st.sampled_from(["firing", "resolved", "?"]),
        "annotations": LABELS,
        "startsAt": st.text(max_size=30),
    },
)


@given(alerts=st.lists(ALERTS, min_size=1, max_size=5), kind=st.sampled_from(BOTS), truncated=st.integers(0, 3))
def test_every_notification_can_be_told(alerts: list[Any], kind: str, truncated: int) -> None:
    """Whatever its labels are, with a title and a part for each alert."""
    document = {"version": "4", "groupKey": "k", "alerts": alerts, "truncatedAlerts": truncated}
    group = read_group(msgspec.json.encode(document))
    notice = notice_of(group)
    assert len(notice.parts) == len(alerts) + bool(truncated)
    assert notice.tone in TONES
    assert size(kind, write(kind, notice, None, 1e9).body) <= MOST_BYTES[kind]
    assert group.identity == read_group(msgspec.json.encode({**document, "alerts": alerts[::-1]})).identity


@given(body=st.binary(max_size=40), kind=st.sampled_from(BOTS))
def test_any_bytes_are_read_or_refused(body: bytes, kind: str) -> None:
    """With a ValueError, and no other error."""
    with pytest.raises(ValueError, match="notification"):
        read_group(body)
    with pytest.raises(ValueError, match="the answer"):
        read(kind, body)
