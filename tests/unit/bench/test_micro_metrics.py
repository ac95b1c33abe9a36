"""The benchmark of what metrics cost."""

from bench.micro_metrics import REQUESTS, costs


async def test_both_gateways_answer_every_kind_of_request() -> None:
    """One without metrics too: each kind has two figures. What they are is no matter here."""
    found = await costs(turns=1)
    assert found.keys() == REQUESTS.keys()
    assert all(without > 0 for without, _ in found.values())
