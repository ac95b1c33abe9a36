"""Usage as every provider words it, in the shapes their references and issue trackers show (``golden/usage.json``)."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.core.usage import Usage
from penstock.providers.registry import adapter

GOLDEN: list[dict[str, Any]] = msgspec.json.decode((Path(__file__).parent / "golden" / "usage.json").read_bytes())


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_usage_of_a_recorded_shape(case: dict[str, Any]) -> None:
    """The bodies, merged in order, are these buckets."""
    usage: Usage | None = None
    for body in case["bodies"]:
        found = adapter(case["kind"]).usage(case["dialect"], body, usage)
        usage = usage if found is None else found
    assert usage == (None if case["usage"] is None else Usage(*case["usage"]))
