"""Requests as clients send them, and what is wrong with some."""

import math
from typing import Any

import msgspec
import pytest

from penstock.errors import BadRequest
from penstock.wire.requests import MAX_DEPTH, end_user, read_request, rewrite, wants_stream, wants_usage

SAY = [{"role": "user", "content": "hi"}]
LEAST: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": SAY},
    "completions": {"model": "m", "prompt": "def f("},
    "embeddings": {"model": "m", "input": "hi"},
    "messages": {"model": "m", "messages": SAY, "max_tokens": 10},
    "count_tokens": {"model": "m", "messages": SAY},
}


def refused(dialect: str, raw: bytes) -> BadRequest:
    """The error that refuses a body."""
    with pytest.raises(BadRequest) as caught:
        read_request(dialect, raw)
    return caught.value


def nested(levels: int) -> bytes:
    """A chat request with an unknown field so deep that the whole has ``levels`` levels."""
    return b'{"model":"m","messages":[{"role":"user"}],"x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize("dialect", LEAST)
def test_the_least_request(dialect: str) -> None:
    """The required fields are enough, and a body is read as it is."""
    assert read_request(dialect, msgspec.json.encode(LEAST[dialect])) == LEAST[dialect]


@pytest.mark.parametrize(("dialect", "name"), [(dialect, name) for dialect in LEAST for name in LEAST[dialect]])
@pytest.mark.parametrize("left", [{}, {"null": None}], ids=["missing", "null"])
def test_a_required_field(dialect: str, name: str, left: dict[str, None]) -> None:
    """A required field left out, or null, is named."""
    body = {key: value for key, value in LEAST[dialect].items() if key != name} | dict.fromkeys((name,) * len(left))
    error = refused(dialect, msgspec.json.encode(body))
    assert (error.public, error.param) == (f"The field '{name}' is missing.", name)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "The body is empty; a JSON object is expected."),
        (b" \r\n\t", "The body is empty; a JSON object is expected."),
        (b'{"model":"m"', "The body is not valid JSON: it ends in the middle, after 12 bytes."),
        (b'{"model', "The body is not valid JSON: it ends in the middle, after 7 bytes."),
        (b'{"model":"m"} x', "The body is not valid JSON: something follows its end (byte 14)."),
        (b'{"model":"m"}{}', "The body is not valid JSON: something follows its end (byte 13)."),
        (b"hello", "The body is not valid JSON: invalid character (byte 0)."),
        (b"\xef\xbb\xbf{}", "The body is not valid JSON: invalid character (byte 0)."),
        (b"{'model':'m'}", "The body is not valid JSON: object keys must be strings (byte 1)."),
        (b'{"model":"m",}', "The body is not valid JSON: trailing comma in object (byte 13)."),
        (b'{"t":NaN}', "The body is not valid JSON: NaN and Infinity are no JSON numbers (byte 5)."),
        (b'{"t":Infinity}', "The body is not valid JSON: NaN and Infinity are no JSON numbers (byte 5)."),
        (b'{"t":-Infinity}', "The body is not valid JSON: NaN and Infinity are no JSON numbers (byte 6)."),
        (b'{"model":"a\xffb"}', "The body is not valid UTF-8 (byte 11)."),
        (
            rb'{"t":"a\ud83d"}',
            "The body is not valid JSON: a character was cut in two, its other \\u is missing (byte 7).",
        ),
        (
            rb'{"t":"\ud83d!!!!!!"}',
            "The body is not valid JSON: a character was cut in two, its other \\u is missing (byte 6).",
        ),
        (
            rb'{"t":"\ude00!!!!!!"}',
            "The body is not valid JSON: a character was cut in two, its other \\u is missing (byte 6).",
        ),
        (rb'{"t":"\ud83d', "The body is not valid JSON: it ends in the middle, after 12 bytes."),
        (b"[]", "The body must be a JSON object."),
        (b'"model"', "The body must be a JSON object."),
        (b"null", "The body must be a JSON object."),
        (b"[" * 200_000, f"The body is nested deeper than {MAX_DEPTH} levels."),
        (b'{"a":' * 200_000, f"The body is nested deeper than {MAX_DEPTH} levels."),
        (nested(MAX_DEPTH + 1), f"The body is nested deeper than {MAX_DEPTH} levels."),
        (nested(900), f"The body is nested deeper than {MAX_DEPTH} levels."),
    ],
)
def test_what_is_no_json_object(raw: bytes, said: str) -> None:
    """The error says in plain words what is wrong, and where."""
    assert refused("chat", raw).public == said


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" * 5000])
def test_numbers_nobody_can_hold(number: str) -> None:
    """A number too large for any JSON reader is refused, not rounded."""
    assert "out of range" in refused("chat", f'{{"model":"m","seed":{number}}}'.encode()).public


def test_an_integer_is_never_rounded() -> None:
    """Integers above 64 bits stay exact, so that no two of them share a cache key."""
    raw = b'{"model":"m","messages":[{"role":"user"}],"seed":123456789012345678901234567891}'
    assert read_request("chat", raw)["seed"] == 123456789012345678901234567891


def test_depth_up_to_the_limit_passes() -> None:
    """Levels are counted, not brackets: many small objects are fine."""
    read_request("chat", nested(MAX_DEPTH))
    read_request("chat", msgspec.json.encode({**LEAST["chat"], "x": [[{"a": []}] for _ in range(1000)]}))


@pytest.mark.parametrize(
    ("dialect", "field", "value", "param", "wanted"),
    [
        ("chat", "model", "", "model", "a string that is not empty"),
        ("chat", "model", 7, "model", "a string that is not empty"),
        ("chat", "model", ["m"], "model", "a string that is not empty"),
        ("chat", "messages", [], "messages", "an array of at least one message"),
        ("chat", "messages", "hi", "messages", "an array of at least one message"),
        ("chat", "messages", {"role": "user"}, "messages", "an array of at least one message"),
        ("chat", "messages", [*SAY, "hi"], "messages[1]", "an object"),
        ("chat", "messages", [*SAY, None], "messages[1]", "an object"),
        ("chat", "messages", [*SAY, *SAY, {"content": "x"}], "messages[2].role", "a string that is not empty"),
        ("chat", "messages", [{"role": 1}], "messages[0].role", "a string that is not empty"),
        ("chat", "messages", [{"role": ""}], "messages[0].role", "a string that is not empty"),
        ("chat", "messages", [{"role": "user", "content": 3}], "messages[0].content", "a string, an array or null"),
        ("chat", "messages", [{"role": "user", "content": {}}], "messages[0].content", "a string, an array or null"),
        ("chat", "stream", "true", "stream", "true or false"),
        ("chat", "stream", 1, "stream", "true or false"),
        ("chat", "stream_options", True, "stream_options", "an object"),
        ("chat", "n", 0, "n", "an integer from 1 to 128"),
        ("chat", "n", 129, "n", "an integer from 1 to 128"),
        ("chat", "n", 1.0, "n", "an integer from 1 to 128"),
        ("chat", "n", True, "n", "an integer from 1 to 128"),
        ("chat", "temperature", "hot", "temperature", "a number"),
        ("chat", "temperature", False, "temperature", "a number"),
        ("chat", "top_p", [1], "top_p", "a number"),
        ("chat", "tools", {}, "tools", "an array"),
        ("chat", "max_tokens", 0, "max_tokens", "a positive integer"),
        ("chat", "max_tokens", -1, "max_tokens", "a positive integer"),
        ("chat", "max_tokens", 1.5, "max_tokens", "a positive integer"),
        ("chat", "max_completion_tokens", "9", "max_completion_tokens", "a positive integer"),
        ("chat", "user", 7, "user", "a string"),
        ("completions", "prompt", [], "prompt", "a string, or an array that is not empty"),
        ("completions", "prompt", 7, "prompt", "a string, or an array that is not empty"),
        ("embeddings", "input", {}, "input", "a string, or an array that is not empty"),
        ("embeddings", "input", [], "input", "a string, or an array that is not empty"),
        ("messages", "max_tokens", "9", "max_tokens", "a positive integer"),
        ("messages", "messages", [{"role": None}], "messages[0].role", "a string that is not empty"),
        ("messages", "metadata", "u", "metadata", "an object"),
        ("count_tokens", "messages", [], "messages", "an array of at least one message"),
    ],
)
def test_a_field_of_the_wrong_type(dialect: str, field: str, value: Any, param: str, wanted: str) -> None:
    """The error names the field and what it should be."""
    error = refused(dialect, msgspec.json.encode({**LEAST[dialect], field: value}))
    assert (error.public, error.param) == (f"'{param}' must be {wanted}.", param)


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0, "top_p": 0.5, "n": 128, "max_tokens": 1, "max_completion_tokens": 384_000, "tools": []},
        {"stream": None, "tools": None, "n": None, "user": None, "stream_options": None, "max_tokens": None},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": ["x"]}]},
        {"thinking": {"type": "disabled"}, "extra": [None, True, 1.5, {}], "": 0, "stop": ["a"], "seed": -1},
    ],
)
def test_what_passes(fields: dict[str, Any]) -> None:
    """A null is a field left out; what we do not know is the provider's to judge."""
    body = {**LEAST["chat"], **fields}
    assert read_request("chat", msgspec.json.encode(body)) == body


@pytest.mark.parametrize("prompt", ["", "x", ["a", "b"], [1, 2], [[1], [2]]])
def test_prompts_of_every_kind(prompt: Any) -> None:
    """A prompt may be text, texts or tokens."""
    assert read_request("completions", msgspec.json.encode({"model": "m", "prompt": prompt}))["prompt"] == prompt
    assert read_request("embeddings", msgspec.json.encode({"model": "m", "input": prompt}))["input"] == prompt


def test_wants() -> None:
    """Only true means yes."""
    assert [wants_stream({"stream": value}) for value in (True, False, None)] == [True, False, False]
    assert wants_stream({}) is False
    options: list[Any] = [{"include_usage": True}, {"include_usage": False}, {"include_usage": 1}, {}, None]
    assert [wants_usage({"stream_options": value}) for value in options] == [True, False, False, False, False]
    assert wants_usage({}) is False


def test_end_user() -> None:
    """OpenAI's field is ``user``, Anthropic's stands in the metadata."""
    fields = {"user": "u1", "metadata": {"user_id": "u2"}}
    assert [end_user(dialect, fields) for dialect in LEAST] == ["u1", "u1", "u1", "u2", "u2"]
    assert end_user("messages", {"metadata": {"user_id": 7}}) == end_user("messages", {}) == end_user("chat", {}) == ""


def test_a_long_end_user_is_told_apart_and_bounded() -> None:
    """Its name stands in every row: at most 256 characters of it, with a digest in place of the rest."""
    names = [end_user("chat", {"user": "u" * length}) for length in (256, 257, 100_000)]
    assert [len(name) for name in names] == [256, 256, 256]
    assert len(set(names)) == 3


RAW = b'{ "model" : "m",  "seed":1.50, "x":{"b":1 , "a":[ 1e2,"\\u6c34"]},"big":123456789012345678901234567890}'


def test_rewrite_leaves_other_values_alone() -> None:
    """Set fields change, new ones are added, removed ones go; every other value keeps its bytes."""
    changed = rewrite(RAW, {"model": "水", "stream": True}, remove=("big", "absent"))
    assert changed == '{"model":"水","seed":1.50,"x":{"b":1 , "a":[ 1e2,"\\u6c34"]},"stream":true}'.encode()


def test_rewrite_settles_double_keys() -> None:
    """A provider never sees another value of a field than we did: the last one counts, as when we read it."""
    assert rewrite(b'{"model":"dear","model":"cheap"}', {}) == b'{"model":"cheap"}'


def test_rewrite_of_what_is_no_object() -> None:
    """Only an object has fields."""
    for raw in (b"[]", b"{", b"", b"\xff", b'{"a":' * 100_000):
        with pytest.raises(BadRequest):
            rewrite(raw, {"stream": True})


def test_floats_survive() -> None:
    """The least and the greatest doubles are read."""
    least, greatest = math.ulp(0.0), math.nextafter(math.inf, 0)
    body = {**LEAST["chat"], "temperature": least, "top_p": greatest}
    assert read_request("chat", msgspec.json.encode(body)) == body
