"""Prefixes of prompts: what two prompts share of their beginning they share of their digests, and nothing more."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.prefixes import CHUNK, DIGEST_BYTES, FIRST, LAST, MAX_BYTES, prompt_prefixes

values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=4,
)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.text()}), max_size=9
)
requests = st.fixed_dictionaries({"messages": messages}, optional={"system": st.text(), "tools": st.lists(st.just({}))})


def say(*texts: str) -> list[dict[str, Any]]:
    """Messages of those texts."""
    return [{"role": "user", "content": text} for text in texts]


@given(requests, messages, messages)
def test_what_is_continued_shares_its_digests(request: dict[str, Any], one: Any, other: Any) -> None:
    """Every digest of a prompt is a digest of each continuation; two continuations part where they differ."""
    begun = request["messages"]
    before = prompt_prefixes("chat", request)
    left = prompt_prefixes("chat", {**request, "messages": begun + one})
    right = prompt_prefixes("chat", {**request, "messages": begun + other})
    common = next(
        (n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )
    assert left[: len(before)] == right[: len(before)] == before
    assert set(left) & set(right) == set(left[: len(before) + common])


def test_instructions_and_tools_come_first() -> None:
    """Other tools or another system prompt share nothing; what only steers the answer changes nothing."""
    plain = {"messages": say("a", "b")}
    mine = prompt_prefixes("messages", {**plain, "system": "s", "tools": [{"name": "t"}]})
    assert len(mine) == 3
    for other in ({}, {"system": "s"}, {"system": "s", "tools": [{"name": "u"}]}):
        assert not set(mine) & set(prompt_prefixes("messages", {**plain, **other}))
    assert prompt_prefixes("chat", {**plain, "temperature": 1, "stream": True, "user": "u"}) == prompt_prefixes(
        "chat", plain
    )


def test_a_marker_that_moves_on_changes_nothing() -> None:
    """Clients mark the last message of each turn as one to cache; it is the same message without the mark."""
    mark = {"cache_control": {"type": "ephemeral"}}

    def body(**marked: Any) -> dict[str, Any]:
        part = {"type": "text", "text": "hi", **marked}
        return {"system": [part], "tools": [{"name": "t", **marked}], "messages": [{"role": "user", "content": [part]}]}

    assert prompt_prefixes("messages", body(**mark)) == prompt_prefixes("messages", body())
    assert prompt_prefixes("messages", body(other=1)) != prompt_prefixes("messages", body())


def test_a_long_conversation_is_recognised_by_its_last_turns() -> None:
    """However long, the digests are few: the first, which many share, and where the turns before ended."""
    texts = [str(number) for number in range(200)]
    earlier = prompt_prefixes("chat", {"messages": say(*texts)})
    later = prompt_prefixes("chat", {"messages": say(*texts, "answer", "question")})
    assert len(later) == len(earlier) == FIRST + LAST
    assert {len(digest) for digest in later} == {DIGEST_BYTES}
    assert earlier[-1] in later[:-1]
    assert prompt_prefixes("chat", {"messages": say(*texts[:FIRST])}) == later[:FIRST]


def test_a_huge_prompt_is_read_only_so_far() -> None:
    """What comes behind the bound is not looked at; a first piece beyond it still has its digest."""
    huge = "x" * (MAX_BYTES // 2)
    begun = prompt_prefixes("chat", {"messages": say(huge)})
    assert prompt_prefixes("chat", {"messages": say(huge, huge, "y")}) == begun
    assert len(prompt_prefixes("chat", {"messages": say(huge * 3, "y")})) == 1


@given(st.text(), st.text(), st.integers(0, 4))
def test_a_plain_prompt_has_chunks(one: str, other: str, chunks: int) -> None:
    """Two plain prompts share the whole chunks that they begin with; a short one is a digest of its own."""
    begin = "b" * (chunks * CHUNK)
    mine, others = (prompt_prefixes("completions", {"prompt": begin + end}) for end in (one, other))
    assert len(mine) == max(1, (chunks * CHUNK + len(one)) // CHUNK)
    assert mine[:chunks] == others[:chunks]


@given(
    st.sampled_from(["chat", "completions", "messages", "embeddings", "responses"]),
    st.dictionaries(
        st.sampled_from(["messages", "prompt", "system", "tools", "input"]),
        values | st.lists(st.fixed_dictionaries({"content": values}), max_size=2),
    ),
)
def test_anything_has_digests_or_none(dialect: str, fields: dict[str, Any]) -> None:
    """Whatever a client sends, it is no error here; the same request has the same digests."""
    assert prompt_prefixes(dialect, fields) == prompt_prefixes(dialect, fields)
