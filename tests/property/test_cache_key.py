"""Laws of the cache key: equal exactly for equal questions."""

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.core.cachekey import IGNORED, cache_key
from tests.support.json_values import OBJECTS, TEXT, VALUES, same, shuffled

Path = tuple[str | int, ...]

FIELDS = OBJECTS.map(lambda fields: {name: value for name, value in fields.items() if name not in IGNORED})
REQUESTS = st.builds(
    lambda fields, content: {**fields, "model": "m", "messages": [{"role": "user", "content": content}]}, FIELDS, TEXT
)
PARTS = st.tuples(TEXT, TEXT, st.sampled_from(["chat", "completions", "embeddings", "messages"]), TEXT)


def key(fields: dict[str, Any]) -> bytes:
    """The key of these fields, all else equal."""
    return cache_key("tenant", "m", "chat", "policy", fields)


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Where every value inside ``value`` stands."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in items:
        yield (*path, step)
        yield from paths(inner, (*path, step))


@st.composite
def mutations(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A request, and the same one with one value at any depth replaced, removed or added beside."""
    request = draw(REQUESTS)
    mutant = copy.deepcopy(request)
    *way, last = draw(st.sampled_from(list(paths(request))))
    place: Any = mutant
    for step in way:
        place = place[step]
    how = draw(st.sampled_from(["replace", "remove", "add"]))
    if how == "replace":
        place[last] = draw(VALUES)
    elif how == "remove":
        del place[last]
    elif isinstance(place, list):
        place.append(draw(VALUES))
    else:
        place[draw(TEXT.filter(lambda name: name not in IGNORED))] = draw(VALUES)
    return request, mutant


@given(mutations())
def test_any_change_at_any_depth_changes_the_key(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Whatever a provider could read differently is another question."""
    request, mutant = pair
    assert (key(request) == key(mutant)) == same(request, mutant)


@given(REQUESTS)
def test_the_order_of_keys_does_not_matter(request: dict[str, Any]) -> None:
    """JSON objects have no order."""
    assert key(shuffled(request)) == key(request)


@given(REQUESTS, st.dictionaries(st.sampled_from(sorted(IGNORED)), VALUES))
def test_ignored_fields_do_not_matter(request: dict[str, Any], ignored: dict[str, Any]) -> None:
    """How an answer is delivered and filed does not change it."""
    assert key({**ignored, **request}) == key(request)


@given(REQUESTS, st.sampled_from(sorted(IGNORED)), VALUES)
def test_ignored_names_matter_further_down(request: dict[str, Any], name: str, value: Any) -> None:
    """Inside a tool or a message the same name means something else."""
    deeper = {**request, "messages": [{**request["messages"][0], name: value}]}
    assert key(deeper) != key(request)


@given(PARTS, PARTS, FIELDS)
def test_parts_never_run_together(
    one: tuple[str, str, str, str], other: tuple[str, str, str, str], fields: dict[str, Any]
) -> None:
    """Tenant, model, dialect and policy are told apart, whatever characters they are made of."""
    assert (cache_key(*one, fields) == cache_key(*other, fields)) == (one == other)


@given(TEXT, TEXT, REQUESTS)
def test_tenants_never_share(one: str, other: str, request: dict[str, Any]) -> None:
    """The same question of another tenant has another key."""
    assume(one != other)
    assert cache_key(one, "m", "chat", "p", request) != cache_key(other, "m", "chat", "p", request)
