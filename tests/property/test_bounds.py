"""A hold is a true upper bound: of tokens by bytes, of money by the dearest tariff its time can reach."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.bound import IMAGE_TOKENS, asked_cap, choices, prompt_bound
from penstock.core.pricing import Rates, charge, dearest
from penstock.core.tokens import estimate_request
from penstock.core.usage import Usage
from penstock.errors import PriceError
from tests.support.house import book

texts = st.text(max_size=200)
messages = st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": texts}), min_size=1, max_size=5)
nanos = st.integers(0, 10**12)
cards = st.builds(Rates, nanos, nanos, nanos, nanos, st.just("CNY"), st.just("test"))
tokens = st.integers(0, 10**6)
ONE = Decimal(1)


def bound_of(fields: dict[str, Any]) -> int | None:
    """As the gateway asks."""
    return prompt_bound(msgspec.json.encode(fields), fields)


@given(messages)
def test_no_prompt_has_more_tokens_than_its_bound(said: list[dict[str, str]]) -> None:
    """A token is at least one byte, however the text is written; our estimate stays below too."""
    fields = {"model": "m", "messages": said}
    bound = bound_of(fields)
    assert bound is not None
    assert bound >= sum(len(message["content"].encode()) for message in said)
    assert bound >= estimate_request("chat", fields)


@given(st.integers(0, 5), st.booleans())
def test_an_image_counts_its_cap(images: int, inline: bool) -> None:  # noqa: FBT001 - drawn
    """By address or in the request."""
    url = "data:image/png;base64,AAAA" if inline else "https://example.com/a.png"
    parts = [{"type": "image_url", "image_url": {"url": url}}] * images
    fields = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, *parts]}]}
    bound = bound_of(fields)
    assert bound is not None
    assert images * IMAGE_TOKENS < bound <= images * (IMAGE_TOKENS + 200) + 500


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
    ],
)
def test_what_is_only_named_has_no_bound(part: dict[str, Any]) -> None:
    """Nobody knows how long it is before the provider fetches it."""
    assert bound_of({"model": "m", "messages": [{"role": "user", "content": [part]}]}) is None


def test_what_the_client_asks_for() -> None:
    """The least of its caps, and all answers that are generated."""
    assert asked_cap({}) is None
    assert asked_cap({"max_tokens": 7, "max_completion_tokens": 5}) == 5
    assert asked_cap({"max_tokens": True}) is None
    assert asked_cap({"max_tokens": -3}) == 0
    assert (choices({}), choices({"n": 3}), choices({"n": 2, "best_of": 5})) == (1, 3, 5)


@given(st.lists(cards, min_size=1, max_size=4), st.data())
def test_nothing_costs_more_than_the_dearest(rates: list[Rates], data: st.DataObject) -> None:
    """Whatever the split of the prompt, at whichever of the tariffs."""
    miss, hit, write, output = (data.draw(tokens) for _ in range(4))
    most = charge(Usage(input_miss=miss + hit + write, output=output), dearest(rates), ONE).native_nano
    for card in rates:
        assert charge(Usage(miss, hit, write, output), card, ONE).native_nano <= most


PRICED = [(model.book, model.name, currency) for model in book().all for currency in model.entries]


@given(st.sampled_from(PRICED), st.floats(1.70e9, 1.80e9), st.floats(0, 3 * 86400), st.data())
def test_the_bound_of_a_span_covers_every_instant_in_it(
    priced: tuple[str, str, str], since: float, lasts_s: float, data: st.DataObject
) -> None:
    """Peak and off-peak, change of prices, length tiers: of the real price book."""
    at = since + lasts_s * data.draw(st.floats(0, 1))
    prompt = data.draw(st.integers(0, 2 * 10**6))
    shorter = data.draw(st.integers(0, prompt))
    try:
        bound = book().bound(*priced, since=since, until=since + lasts_s, prompt_tokens=prompt)
    except PriceError:
        return
    try:
        card = book().rates(*priced, at, shorter)
    except PriceError:
        return
    for usage in (Usage(input_miss=shorter), Usage(input_hit=shorter), Usage(cache_write=shorter), Usage(output=1000)):
        most = charge(Usage(input_miss=usage.prompt, output=usage.output), bound, ONE).native_nano
        assert charge(usage, card, ONE).native_nano <= most
