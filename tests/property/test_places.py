"""Remembered accounts are those that would be found anew, at any instant, whatever was asked before."""

from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.budget import SCOPES, Budget, Payer, places
from penstock.core.places import Places
from penstock.core.windows import WINDOWS

ZONES = [ZoneInfo(name) for name in ("UTC", "Asia/Shanghai", "America/New_York", "Australia/Lord_Howe")]
BASE = 1_795_000_000.0

budgets = st.lists(
    st.builds(
        Budget,
        name=st.sampled_from(["a", "b", "c", "d"]),
        scope=st.sampled_from(SCOPES),
        unit=st.sampled_from(["money", "tokens"]),
        limit=st.just(10),
        window=st.sampled_from(WINDOWS),
        zone=st.sampled_from(ZONES),
    ),
    max_size=4,
)
payers = st.builds(
    Payer,
    team=st.sampled_from(["", "t"]),
    key=st.sampled_from(["k", "l"]),
    user=st.sampled_from(["", "u"]),
    model=st.just("m"),
    tags=st.sampled_from([(), ("a=b",), ("a=b", "c=d")]),
)
instants = st.floats(BASE - 40 * 86_400, BASE + 40 * 86_400) | st.floats(BASE, BASE + 7200)


@given(budgets, st.lists(st.tuples(payers, instants), min_size=1, max_size=20))
def test_what_is_remembered_is_what_would_be_found(
    given_budgets: list[Budget], asked: list[tuple[Payer, float]]
) -> None:
    """Forwards, backwards and across the ends of windows."""
    remembered = Places(given_budgets)
    for payer, at in asked:
        assert list(remembered.of(payer, at)) == places(given_budgets, payer, at)
        for budget in given_budgets:
            assert remembered.span(budget, at) == budget.span(at)
