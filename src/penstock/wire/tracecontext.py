"""W3C trace context: the headers ``traceparent`` and ``tracestate``, read and made (https://www.w3.org/TR/trace-context-2/).

What is not exactly as the recommendation wants it counts as absent: a trace begins anew, and no request fails for it.
"""

import re
from typing import Final

from penstock.core.trace import RANDOM, SAMPLED, Trace, TraceContext

MOST_STATE_CHARS: Final = 512
"""Of what is passed on; the recommendation wants at least so many kept."""
LONG_MEMBER_CHARS: Final = 128
"""Members longer than this go first when there is no room."""
MOST_MEMBERS: Final = 32
_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_MEMBER: Final = re.compile(
    r"([a-z0-9][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]",
    re.ASCII,
)
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16


def parse_trace(parent: str, state: str = "") -> TraceContext | None:
    """The caller's context by its two headers; None when there is none that holds."""
    found = _PARENT.fullmatch(parent)
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest is not None) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceContext(trace_id, span_id, int(flags, 16) & (SAMPLED | RANDOM), parse_state(state))


def parse_state(header: str) -> str:
    """The members of ``tracestate`` as they are passed on; "" when one is malformed or stands there twice."""
    members = [member for member in (part.strip(" \t") for part in header.split(",")) if member]
    found = [_MEMBER.fullmatch(member) for member in members[: MOST_MEMBERS + 1]]
    keys = {match[1] for match in found if match is not None}
    if len(members) > MOST_MEMBERS or len(keys) < len(members):
        return ""
    return ",".join(_that_fit(members))


def trace_headers(trace: Trace, span_id: str) -> dict[str, str]:
    """What a provider is sent, so that its spans are children of ``span_id``."""
    headers = {"traceparent": f"00-{trace.trace_id}-{span_id}-{trace.flags:02x}"}
    if trace.state:
        headers["tracestate"] = trace.state
    return headers


def _that_fit(members: list[str]) -> list[str]:
    """As many of them as there is room for, the first ones first, the long ones only where all have room."""
    if len(",".join(members)) > MOST_STATE_CHARS:
        members = [member for member in members if len(member) <= LONG_MEMBER_CHARS]
    while len(",".join(members)) > MOST_STATE_CHARS:
        members = members[:-1]
    return members
