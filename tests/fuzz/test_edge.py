"""Whatever an edge, a centre or a stranger says in its headers and documents: a value, or one named error."""

from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.offered import offered_prices, read_offered_prices
from penstock.core.cachekey import CacheDirective, parse_directive
from penstock.core.edge import MOST_HOPS, Tenant, read_told
from penstock.core.offer import AnswersPage, Offer, Offered, PurgesPage
from penstock.errors import BadRequest, ConfigError, LoopDetected
from penstock.pipeline.passing import directive_text, entry_text, read_entry, read_passed

NAMES = ("x-penstock-hops", "x-penstock-parent", "x-penstock-tenant", "x-penstock-entry")
PRINTABLE = st.text(st.characters(codec="utf-8").filter(str.isprintable), max_size=100)


def heads(*names: str) -> st.SearchStrategy[Mapping[bytes, bytes]]:
    """Some of these headers, of any bytes."""
    return st.dictionaries(st.sampled_from([name.encode() for name in names]), st.binary(max_size=80))


@given(heads(*NAMES))
def test_headers_of_strangers_are_values_or_refused(headers: Mapping[bytes, bytes]) -> None:
    """And what is taken of them is bounded and printable: it goes to the ledger."""
    try:
        passed = read_passed(headers)
    except (BadRequest, LoopDetected):
        return
    if passed is not None:
        assert 1 <= passed.hops <= MOST_HOPS
        assert (passed.parent + passed.entry).isascii()
        assert passed.tenant is None or "".join(passed.tenant).isprintable()


@given(PRINTABLE.filter(bool), PRINTABLE, PRINTABLE)
def test_a_tenant_arrives_as_it_is_called(id_: str, name: str, team: str) -> None:
    """Slashes, spaces, and every script there is."""
    text = "/".join(quote(part, safe="") for part in (id_, name, team))
    passed = read_passed({b"x-penstock-hops": b"1", b"x-penstock-tenant": text.encode()})
    assert passed is not None
    assert passed.tenant == Tenant(id_, name, team)


@given(st.binary(min_size=32, max_size=32), PRINTABLE.filter(bool))
def test_an_entry_comes_back_as_it_went(key: bytes, model: str) -> None:
    """Through the centre's store and back."""
    assert read_entry(entry_text(key, model)) == (key, model)


@given(st.text(max_size=200))
def test_an_entry_that_is_none_is_a_value_error(text: str) -> None:
    """Nothing else is raised."""
    try:
        key, model = read_entry(text)
    except ValueError:
        return
    assert (len(key), bool(model)) == (32, True)


@given(st.booleans(), st.booleans(), st.none() | st.integers(0, 10**9), st.booleans())
def test_a_directive_says_the_same_at_the_centre(no_store: bool, no_cache: bool, age: int | None, only: bool) -> None:  # noqa: FBT001 - hypothesis gives them by place
    """Written and read again."""
    directive = CacheDirective(no_store=no_store, no_cache=no_cache, max_age_s=age, only_if_cached=only)
    assert parse_directive(directive_text(directive)) == directive


@given(st.text(), st.text(), st.text(), st.text(), st.text())
def test_what_a_centre_says_of_its_answer_is_bounded(
    request_id: str, cache: str, cost: str, age: str, steps: str
) -> None:
    """It goes into our own headers and our ledger."""
    told = read_told(request_id, cache, cost, age, steps)
    for text in (told.request_id, told.cache, told.cost):
        assert text.isascii()
        assert text.isprintable()
        assert len(text) <= 128
    assert 0 <= told.age_s < 1e11


@pytest.mark.parametrize("form", [Offer, PurgesPage, AnswersPage])
@given(data=st.data())
def test_documents_of_any_bytes_are_values_or_one_error(form: type, data: st.DataObject) -> None:
    """As the reader of a centre takes them."""
    json = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=6),
        max_leaves=12,
    )
    raw = data.draw(st.binary(max_size=60) | json.map(msgspec.json.encode))
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ArithmeticError):
        msgspec.json.decode(raw, type=form)


@pytest.mark.parametrize("name", ["a\r\nset-cookie: x", "\x00", "a\nb", "a\n", ""])
def test_a_name_that_would_be_two_header_lines_is_none(name: str) -> None:
    """Names of models stand in our answers' headers."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode({"models": [{"name": name}], "prices": {}}), type=Offer)


_FIELDS = (*Offer.__struct_fields__, *Offered.__struct_fields__, *PurgesPage.__struct_fields__, "answers")


@given(st.dictionaries(st.sampled_from(("deepseek", "up")), st.text(max_size=80), max_size=2))
def test_price_lists_of_any_text_are_lists_or_mistakes(prices: dict[str, str]) -> None:
    """Validated as our own files are; nothing of a wrong one is taken."""
    offer = Offer(models=(Offered(name="m"),), prices=prices)
    with suppress(ConfigError):
        read_offered_prices(offer)
    assert list(offered_prices({"centre": offer})) == ["centre/m"]
