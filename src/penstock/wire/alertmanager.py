"""What Alertmanager sends to a webhook, version 4 (https://prometheus.io/docs/alerting/latest/configuration/#webhook_config)."""

import hashlib
from typing import Final

import msgspec

from penstock.core.notice import TONES, Notice, Part

VERSION: Final = "4"
FIRING: Final = "firing"
_OF_EVERY: Final = frozenset({"alertname", "severity", "job"})
"""Labels that say little, or are said elsewhere."""


class Alert(msgspec.Struct, rename="camel"):
    """One alert of a group."""

    labels: dict[str, str]
    status: str = FIRING
    annotations: dict[str, str] = {}
    starts_at: str = ""
    fingerprint: str = ""

    @property
    def name(self) -> str:
        """As its rule has it."""
        return self.labels.get("alertname", "(no name)")

    @property
    def severity(self) -> str:
        """Of the three tiers; one that it does not know counts as a warning."""
        severity = self.labels.get("severity", "")
        return severity if severity in TONES else "warning"


class AlertGroup(msgspec.Struct, rename="camel"):
    """One notification."""

    version: str
    group_key: str
    alerts: list[Alert]
    truncated_alerts: int = 0

    @property
    def identity(self) -> str:
        """The same for the same news of the same alerts, and for nothing else."""
        news = sorted(
            (each.fingerprint or str(sorted(each.labels.items())), each.status, each.starts_at) for each in self.alerts
        )
        return hashlib.sha256(msgspec.json.encode([self.group_key, news, self.truncated_alerts])).hexdigest()


_decode = msgspec.json.Decoder(AlertGroup).decode


def read_group(body: bytes) -> AlertGroup:
    """A webhook's body. Raises ValueError saying what is wrong with it."""
    try:
        group = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"this is no notification of Alertmanager: {error}") from None
    if group.version != VERSION:
        raise ValueError(f"this is a notification of version {group.version[:8]!r}, and only version {VERSION} is read")
    if not group.alerts:
        raise ValueError("this notification has no alerts")
    return group


def notice_of(group: AlertGroup) -> Notice:
    """What people are told of it: those that fire first, the worst of them first."""
    firing = [each for each in group.alerts if each.status == FIRING]
    resolved = [each for each in group.alerts if each.status != FIRING]
    ordered = [*sorted(firing, key=lambda each: TONES.index(each.severity)), *resolved]
    parts = [_part(each) for each in ordered]
    if group.truncated_alerts:
        parts.append(Part(f"and {group.truncated_alerts} more, which Alertmanager left out"))
    counts = [f"{len(each)} {word}" for each, word in ((firing, FIRING), (resolved, "resolved")) if each]
    names = ", ".join(dict.fromkeys(each.name for each in ordered))
    return Notice(f"[{', '.join(counts)}] {names}", ordered[0].severity if firing else "good", tuple(parts))


def _part(alert: Alert) -> Part:
    said = alert.annotations
    state = alert.severity if alert.status == FIRING else "resolved"
    where = ", ".join(f"{name}={value}" for name, value in sorted(alert.labels.items()) if name not in _OF_EVERY)
    since = f"since {alert.starts_at[:19]}Z" if alert.starts_at.endswith("Z") else f"since {alert.starts_at}"
    lines = [said.get("description", ""), where, since if alert.starts_at else "", said.get("runbook", "")]
    return Part(f"{state}: {said.get('summary') or alert.name}", tuple(line for line in lines if line))
