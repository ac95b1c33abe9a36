"""Any bytes give settings or ConfigError, with every secret kept."""

import re
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.config.load import load
from penstock.config.settings import Settings
from penstock.errors import ConfigError
from tests.support.kinds import KINDS

EXAMPLE = (Path(__file__).parents[2] / "penstock.example.yaml").read_text("utf-8")
CANARY = "canary-8f3a"
SPLICES = (
    "&a", "*a", "<<: *a", "!!x", "${A}", "${", "$$", "{", "}", "[", "]", ":", "\t", "'", '"', "|", "---", "null", "off",
    "5", "1e9", "- ", "\\uD800", "\u2028", "model", "sim", "deepseek", "weight: -1", "kind: openai", "? x", "%YAML 1.1",
    "5 CNY", "budgets: ", "tokens", "limit: ",
)  # fmt: skip

words = st.sampled_from(("store", "providers", "models", "cache", "exact", "keys", "server", "fx", "a", "kind", "ttl"))
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), words)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=4), inner, max_size=5),
    max_leaves=30,
)


def outcome(data: bytes, environ: dict[str, str]) -> Settings | ConfigError:
    """What loading a file of these bytes comes to; anything but these two is a failure."""
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        try:
            return load(Path(file.name), environ, registry=KINDS)
        except ConfigError as error:
            for line in error.mistakes:
                assert "\n" not in line
                assert re.match(rf"{re.escape(file.name)}(:[1-9][0-9]*)?: .", line)
            return error


@given(st.binary(max_size=200))
@example(b"a: *a")
@example(b'"\\x')
@example(b"%TAG ! !")
@example(b"? ")
@example(b"\xef\xbb\xbf{}")
def test_any_bytes_give_settings_or_mistakes(data: bytes) -> None:
    """Whatever they are."""
    outcome(data, {})


@given(trees)
def test_any_tree_gives_settings_or_mistakes(tree: object) -> None:
    """Also with the names of real settings at the wrong places."""
    outcome(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"), {})


@given(st.lists(st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 20), st.sampled_from(SPLICES)), max_size=6))
def test_a_mangled_file_gives_settings_or_mistakes(cuts: list[tuple[int, int, str]]) -> None:
    """The example with pieces cut out and put in."""
    text = EXAMPLE
    for place, length, splice in cuts:
        text = text[:place] + splice + text[place + length :]
    outcome(text.encode(), {"A": "a", "DEEPSEEK_API_KEY": "k"})


SECRET_PLACES = (
    "server: {admin_token: SECRET}",
    "server: {secret: SECRET}",
    "server: {secret: [SECRET]}",
    "store: postgresql://u:SECRET@h/db",
    "store: postgresql://u:SECRET@h",
    "store: postgresql://h/db\nshared: redis://u:SECRET@h/0",
    "shared: {url: redis://u:SECRET@h/x, slice: 2}",
    "store: SECRET",
    "shared: redis://:SECRET@h",
    "budgets: [SECRET]",
    "keys: [{name: a, key_sha256: SECRET}]",
    "keys: [{name: a, key_sha256: SECRET, rpm: 0}, SECRET]",
    "providers: {p: {kind: deepseek, api_key: SECRET, private: 3}}",
    "providers: {p: {kind: deepseek, apikey: SECRET}}",
    "providers: {p: {kind: deepseek, api_key: [SECRET]}}",
    "providers: {p: {kind: deepseek, api_key: SECRET x}}",
    "providers: {p: {kind: deepseek, api_key: 'SECRET' x}}",
    "providers: {p: {kind: deepseek, api_key: *SECRET}}",
    "providers: {p: {kind: deepseek, api_key: !SECRET x}}",
    "providers: {p: {kind: deepseek, api_key: &SECRET x, api_key: &SECRET y}}",
    "providers: {p: {kind: deepseek, api_key: @SECRET}}",
    'providers: {p: {kind: deepseek, api_key: "\\SECRET"}}',
    "providers: {p: {kind: deepseek, base_url: 'https://u:SECRET@h'}}",
    "providers: {p: {kind: deepseek, base_url: 'https://h/?k=SECRET'}}",
    "providers: {p: {kind: deepseek, messages_url: 'SECRET'}}",
    "providers: {p: {kind: deepseek, proxy: 'ftp://u:SECRET@h'}}",
    "providers: {p: {kind: deepseek, headers: {x: 'SECRET\n\n'}}}",
    "providers: {p: {kind: deepseek, headers: [SECRET]}}",
    "providers: {p: {kind: SECRET}}",
    "%SECRET 1.1\n---\n{}",
    "%TAG !SECRET! x\n%TAG !SECRET! x\n---\n{}",
)
"""Files with a secret in them, wherever one belongs or may be put by mistake."""

ANY_PLACES = (
    "server: {listen: SECRET, admin_listen: SECRET, drain: SECRET, trusted_proxies: [SECRET], cors: [SECRET]}",
    "limits: {max_body: SECRET, max_queue: SECRET}",
    "timeouts: {total: SECRET}",
    "cache: {join: SECRET, share: SECRET, exact: {ttl: SECRET}}",
    "cache: {exact: SECRET}",
    "currency: SECRET",
    "fx: {USD: SECRET}",
    "retry: {budget: SECRET}",
    "models: {m: {balance: SECRET, baseline: SECRET, deployments: [{provider: SECRET, weight: SECRET}]}}",
    "providers: {p: {kind: SECRET, after_disconnect: SECRET, dialects: [SECRET], prices: {input: SECRET}}}",
    "keys: [{name: SECRET, models: [SECRET]}]",
    "budgets: [{name: SECRET, limit: 1 CNY}, {name: b, limit: SECRET, scope: SECRET, timezone: SECRET}]",
    "budgets: [{name: b, limit: 1 CNY, scope: model, alerts: [SECRET], entries: {a: SECRET}, ladder: {stale: SECRET}}]",
    "models: {m: {deployments: [{provider: sim}], cheaper: SECRET}}",
    "SECRET",
    "SECRET: 1",
    "server: {SECRET: 1}",
)
"""Bad files in which a variable stands where nothing secret belongs."""


@pytest.mark.parametrize("spelling", [CANARY, f"'{CANARY}'", f"{CANARY} ", "${CANARY}", "${CANARY}é"])
@pytest.mark.parametrize("place", SECRET_PLACES)
def test_no_secret_is_ever_shown(place: str, spelling: str) -> None:
    """Neither in a mistake nor in what the settings print."""
    data = place.replace("SECRET", spelling).encode()
    found = outcome(data, {"CANARY": CANARY, "DEEPSEEK_API_KEY": CANARY})
    assert CANARY not in str(found)
    assert CANARY not in repr(found)


@pytest.mark.parametrize("spelling", ["${CANARY}", "'${CANARY}'", "x${CANARY}", "${NOWHERE:-}${CANARY}"])
@pytest.mark.parametrize("place", ANY_PLACES)
def test_no_variable_is_ever_shown_in_a_mistake(place: str, spelling: str) -> None:
    """Wherever it stands: what the environment holds may be a secret."""
    found = outcome(place.replace("SECRET", spelling).encode(), {"CANARY": CANARY})
    assert isinstance(found, ConfigError)
    assert CANARY not in str(found)
