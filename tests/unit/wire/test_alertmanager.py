"""Alertmanager's webhook: read, told in order, and known again."""

from typing import Any

import msgspec
import pytest

from penstock.wire.alertmanager import AlertGroup, notice_of, read_group


def alert(
    name: str = "PenstockDown", status: str = "firing", severity: str = "critical", **more: Any
) -> dict[str, Any]:
    """One, as it is sent."""
    return {
        "status": status,
        "labels": {"alertname": name, "severity": severity, "instance": "a:8788", "job": "penstock"},
        "annotations": {"summary": f"{name} happened", "description": "What it means.", "runbook": f"docs/{name}.md"},
        "startsAt": "2026-11-22T08:00:00.123Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://p:9090/graph?g0.expr=up",
        "fingerprint": f"f-{name}",
        **more,
    }


def body(*alerts: dict[str, Any], **more: Any) -> bytes:
    """A notification, as it is sent."""
    document = {
        "receiver": "chat", "status": "firing", "alerts": list(alerts), "groupLabels": {}, "commonLabels": {},
        "commonAnnotations": {}, "externalURL": "http://am:9093", "version": "4", "groupKey": "{}:{}",
        "truncatedAlerts": 0, **more,
    }  # fmt: skip
    return msgspec.json.encode(document)


def group(*alerts: dict[str, Any], **more: Any) -> AlertGroup:
    """The same, read."""
    return read_group(body(*alerts, **more))


def test_an_alert_is_told_with_what_it_says() -> None:
    """How many, which, how bad; what it means, where, since when, and its page."""
    notice = notice_of(group(alert()))
    assert notice.title == "[1 firing] PenstockDown"
    assert notice.tone == "critical"
    assert notice.parts == (
        (
            "critical: PenstockDown happened",
            ("What it means.", "instance=a:8788", "since 2026-11-22T08:00:00Z", "docs/PenstockDown.md"),
        ),
    )


def test_the_worst_comes_first_and_what_is_over_last() -> None:
    """In that order, whatever order they came in."""
    notice = notice_of(
        group(alert("C", "resolved"), alert("B", severity="info"), alert("A"), alert("D", severity="page"))
    )
    assert [part.heading for part in notice.parts] == [
        "critical: A happened", "warning: D happened", "info: B happened", "resolved: C happened",
    ]  # fmt: skip
    assert notice.title == "[3 firing, 1 resolved] A, D, B, C"


def test_what_is_all_over_is_good() -> None:
    """Its colour is not that of an alarm."""
    assert notice_of(group(alert(status="resolved"))).tone == "good"


def test_what_alertmanager_left_out_is_said() -> None:
    """``max_alerts`` cuts before we do."""
    assert notice_of(group(alert(), truncatedAlerts=7)).parts[-1].heading.startswith("and 7 more")


def test_news_are_the_same_only_when_they_are() -> None:
    """In another order they are; with another status, beginning, group or alert they are not."""
    one, two = alert("A"), alert("B")
    same = group(one, two).identity
    assert group(two, one).identity == same
    others = [
        group(one), group(one, alert("B", "resolved")), group(one, {**two, "startsAt": "2026-11-22T09:00:00Z"}),
        group(one, two, groupKey="{}:{x}"), group(one, two, truncatedAlerts=1),
        group(one, {**two, "fingerprint": "", "labels": {}}),
    ]  # fmt: skip
    assert len({same, *(each.identity for each in others)}) == 7


@pytest.mark.parametrize(
    "document",
    [
        b"", b"<html>", b"{}", b"null", b"[" * 5000, b"\xff", body(), body(alert(), version="5"), body({"labels": 7}),
        body({"labels": {"alertname": 7}}), body(alert(), groupKey=None),
    ],
)  # fmt: skip
def test_what_is_no_notification_is_refused(document: bytes) -> None:
    """With words that say so."""
    with pytest.raises(ValueError, match="notification"):
        read_group(document)
