"""Points in time as tests write them."""

from datetime import datetime


def epoch(text: str) -> float:
    """``2026-09-10T04:00Z`` as seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()
