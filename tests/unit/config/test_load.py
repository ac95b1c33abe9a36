"""What the file, the environment and the rows come to."""

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from penstock.config.load import found_here, load, load_here
from penstock.config.settings import Address, ExactSettings, Secret, Settings, TimeoutSettings
from penstock.errors import ConfigError
from tests.support.configs import built_in, loaded, mistakes
from tests.support.kinds import KINDS

ROOT = Path(__file__).parents[3]


def provider(entry: str, directory: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Where the calls of one provider entry go, by dialect."""
    text = f"providers: {{p: {entry}}}\nmodels: {{m: {{deployments: [{{provider: p}}]}}}}\nfx: {{USD: 7}}\n"
    return dict(loaded(text, directory, environ).providers["p"].base_urls)


def everything_but_where_from(settings: Settings) -> dict[str, object]:
    """The settings without the names of file and directory."""
    names = set(Settings.__slots__) - {"source", "directory"}
    return {name: getattr(settings, name) for name in names}


# --- no file ---------------------------------------------------------------------------------------------------


def test_with_nothing_set_the_simulated_provider_serves() -> None:
    """No file, no key: the sim models, and settings that say so."""
    settings = built_in()
    assert settings.simulated
    assert list(settings.providers) == ["sim"]
    assert list(settings.models) == ["sim-chat", "sim-embed"]
    assert settings.source == "built-in"
    assert settings.warnings == ()


def test_one_key_in_the_environment_is_enough() -> None:
    """``DEEPSEEK_API_KEY`` alone gives the provider, its models and its old names."""
    settings = built_in({"DEEPSEEK_API_KEY": " sk-1\n"})
    assert not settings.simulated
    assert settings.providers["deepseek"].api_key == Secret("sk-1")
    models = settings.models
    assert sorted(models) == [
        "deepseek-chat", "deepseek-flash", "deepseek-reasoner", "deepseek-v4-flash", "deepseek-v4-pro",
    ]  # fmt: skip
    assert models["deepseek-chat"].fields == {"thinking": {"type": "disabled"}}
    assert models["deepseek-chat"].alias_of == "deepseek-flash"
    assert models["deepseek-chat"].deployments == models["deepseek-flash"].deployments
    assert models["deepseek-v4-flash"].fields == {}
    assert models["deepseek-flash"].baseline == models["deepseek-flash"].deployments[0]
    assert models["deepseek-flash"].deployments[0].id == "deepseek/deepseek-flash"


def test_every_key_in_the_environment_counts() -> None:
    """Each kind whose variable is set is a provider, in the order of the rows; blank is unset."""
    settings = built_in({"OPENAI_API_KEY": "b", "DEEPSEEK_API_KEY": "a", "ANTHROPIC_API_KEY": " "})
    assert list(settings.providers) == ["deepseek", "openai"]
    assert "gpt-5" in settings.models


def test_a_broken_key_in_the_environment_is_named_not_shown() -> None:
    """The variable's name, never its value."""
    with pytest.raises(ConfigError) as caught:
        built_in({"DEEPSEEK_API_KEY": "sk one two"})
    (line,) = caught.value.mistakes
    assert line.startswith("built-in: DEEPSEEK_API_KEY: this environment variable is empty or has spaces")
    assert "sk one" not in line


def test_the_servers_secrets_come_from_the_environment() -> None:
    """The token and the pepper have variables of their own."""
    server = built_in({"PENSTOCK_ADMIN_TOKEN": "t", "PENSTOCK_SECRET": "s"}).server
    assert (server.admin_token, server.secret) == (Secret("t"), Secret("s"))


# --- defaults --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "{}\n", "null\n", "server:\nproviders: {}\nkeys: null\n", "\ufeff"]
)
def test_an_empty_file_means_the_defaults(text: str, tmp_path: Path) -> None:
    """Absent, null and empty are the same, and the same as no file at all."""
    assert everything_but_where_from(loaded(text, tmp_path)) == everything_but_where_from(built_in())


def test_the_defaults_are_those_of_the_contract() -> None:
    """The values shown in the design."""
    settings = built_in()
    assert settings.server.listen == Address("127.0.0.1", 8787)
    assert settings.server.admin_listen == Address("127.0.0.1", 8788)
    assert settings.server.drain_s == 30
    assert settings.store == "sqlite:penstock.db"
    assert (settings.currency, dict(settings.fx)) == ("CNY", {"USD": Decimal("7.10")})
    assert (settings.ledger.sync, settings.ledger.on_failure) == ("normal", "refuse")
    cache = settings.cache
    assert (cache.exact_ttl_s, cache.max_bytes, cache.join, cache.share) == (3600, 256 * 2**20, True, "key")
    limits = settings.limits
    assert (limits.max_body, limits.max_concurrency, limits.max_queue) == (8 * 2**20, 512, 1000)
    assert settings.timeouts == TimeoutSettings(connect_s=5, first_byte_s=120, between_s=60, total_s=900)
    assert (settings.retry.attempts, settings.retry.backoff_s, settings.retry.budget) == (4, 1, 0.2)
    model = settings.models["sim-chat"]
    assert (model.balance, model.default_output, model.stream_upstream) == ("weighted", 8192, True)  # built in
    assert model.deployments[0].weight == 1


def test_each_setting_is_defaulted_by_itself(tmp_path: Path) -> None:
    """One setting of a section leaves its neighbours at their defaults."""
    cache = loaded("cache: {exact: {ttl: 5m}}\n", tmp_path).cache
    assert (cache.exact_ttl_s, cache.max_bytes, cache.join) == (300, 256 * 2**20, True)


def test_a_file_that_names_no_provider_simulates_and_says_so(tmp_path: Path) -> None:
    """A key in the environment is not used behind the file's back, but it is pointed out."""
    settings = loaded("cache: {join: false}\n", tmp_path, {"DEEPSEEK_API_KEY": "k"})
    assert settings.simulated
    assert list(settings.providers) == ["sim"]
    assert len(settings.warnings) == 1
    assert "DEEPSEEK_API_KEY is set" in settings.warnings[0]


def test_the_example_file_is_right_and_shows_the_defaults() -> None:
    """What it says is what holds without it; its provider, models and tag aside."""
    settings = load(ROOT / "penstock.example.yaml", {"DEEPSEEK_API_KEY": "k"}, registry=KINDS)
    default = built_in()
    assert settings.warnings == ()
    for name in (
        "server",
        "store",
        "currency",
        "fx",
        "ledger",
        "limits",
        "timeouts",
        "retry",
        "keys",
        "budgets",
        "budget_wait_s",
        "bound",
    ):
        assert getattr(settings, name) == getattr(default, name), name
    assert settings.cache.exact_ttl_s == default.cache.exact_ttl_s
    assert settings.cache.max_bytes == default.cache.max_bytes


def test_the_examples_budgets_are_right_too(tmp_path: Path) -> None:
    """They are commented out, because there are none by default; whoever takes the mark away gets what they say."""
    text = (ROOT / "penstock.example.yaml").read_text("utf-8")
    written = re.search(r"^# budgets:(.*\n)(#   .*\n)+", text, re.MULTILINE)
    assert written
    models = """
providers: {sim: {kind: sim}}
models: {m: {deployments: [{provider: sim}], cheaper: n}, n: {deployments: [{provider: sim}]}}
"""
    settings = loaded(models + re.sub("^# ", "", written[0], flags=re.MULTILINE), tmp_path)
    assert [budget.name for budget in settings.budgets] == ["all", "per-user"]
    assert list(settings.budgets[1].ladder) == ["stale", "thinking_off", "cheaper"]


# --- providers -------------------------------------------------------------------------------------------------


def test_a_provider_takes_from_its_kind_what_it_does_not_say(tmp_path: Path) -> None:
    """And overrides what it says."""
    text = """
providers:
  a: {kind: vllm}
  b:
    kind: vllm
    private: false
    after_disconnect: completes
    billed_at: completion
    currency: USD
    price_book: deepseek
    proxy: http://u:p@127.0.0.1:3128
    headers: {X-Team: blue}
    ca_file: c.yaml
models: {m: {deployments: [{provider: a}, {provider: b}]}}
"""
    providers = loaded(text, tmp_path).providers
    a, b = providers["a"], providers["b"]
    assert (a.private, a.after_disconnect, a.billed_at, a.currency, a.price_book) == (True, "stops", "start", "CNY", "")
    assert (b.private, b.after_disconnect, b.billed_at, b.currency, b.price_book) == (
        False, "completes", "completion", "USD", "deepseek",
    )  # fmt: skip
    assert b.proxy == Secret("http://u:p@127.0.0.1:3128")
    assert b.headers == {"x-team": Secret("blue")}
    assert b.ca_file == tmp_path / "c.yaml"


def test_prices_of_ones_own_are_exact(tmp_path: Path) -> None:
    """The text of the file becomes a Decimal, never a float."""
    text = """
providers: {p: {kind: vllm, prices: {input: 0.1, cached_input: 0.02, output: 0.30, cache_write: 0.125}}}
models: {m: {deployments: [{provider: p}]}}
fx: {USD: 7.100000000000000001}
"""
    settings = loaded(text, tmp_path)
    prices = settings.providers["p"].prices
    assert prices is not None
    assert (prices.input, prices.cached_input, prices.output) == (Decimal("0.1"), Decimal("0.02"), Decimal("0.30"))
    assert (prices.cache_write, prices.currency) == (Decimal("0.125"), "CNY")
    assert settings.fx["USD"] == Decimal("7.100000000000000001")


@pytest.mark.parametrize(
    ("entry", "urls"),
    [
        ("{kind: deepseek}", dict(KINDS["deepseek"].base_urls)),
        (
            "{kind: deepseek, base_url: 'http://127.0.0.1:9/v1/'}",
            {"chat": "http://127.0.0.1:9/v1", "completions": "http://127.0.0.1:9/v1"},
        ),
        (
            "{kind: deepseek, base_url: 'http://127.0.0.1:9/v1', messages_url: 'http://127.0.0.1:9/a/v1'}",
            {
                "chat": "http://127.0.0.1:9/v1",
                "completions": "http://127.0.0.1:9/v1",
                "messages": "http://127.0.0.1:9/a/v1",
            },
        ),
        (
            "{kind: deepseek, base_url: 'https://api.deepseek.com:443/v1'}",
            {
                "chat": "https://api.deepseek.com:443/v1",
                "completions": "https://api.deepseek.com:443/v1",
                "messages": "https://api.deepseek.com/anthropic/v1",
            },
        ),
        ("{kind: deepseek, dialects: [chat]}", {"chat": "https://api.deepseek.com"}),
        ("{kind: deepseek, dialects: [embeddings]}", {"embeddings": "https://api.deepseek.com"}),
        (
            "{kind: vllm, base_url: 'http://h:1', dialects: [chat, messages]}",
            {"chat": "http://h:1", "messages": "http://h:1"},
        ),
        ("{kind: anthropic, api_key: k, base_url: 'http://h:1/v1'}", {"messages": "http://h:1/v1"}),
        (
            "{kind: anywhere, base_url: 'http://h:1'}",
            dict.fromkeys(("chat", "completions", "embeddings"), "http://h:1"),
        ),
    ],
)
def test_urls_of_ones_own_move_the_dialects_they_are_for(entry: str, urls: dict[str, str], tmp_path: Path) -> None:
    """No call goes anywhere but to what the file or the row names, and Anthropic's base moves only when told."""
    assert provider(entry, tmp_path, {"DEEPSEEK_API_KEY": "k"}) == urls


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ("{kind: deepseek}", "env"),
        ("{kind: deepseek, api_key: own}", "own"),
        ("{kind: deepseek, api_key: null}", "env"),
        ("{kind: deepseek, base_url: 'https://api.deepseek.com/v1'}", "env"),
        ("{kind: deepseek, base_url: 'http://api.deepseek.com'}", None),
        ("{kind: deepseek, base_url: 'https://api.deepseek.com:444'}", None),
        ("{kind: deepseek, base_url: 'https://api.deepseek.com.evil.example'}", None),
        ("{kind: deepseek, messages_url: 'https://evil.example/v1'}", None),
    ],
)
def test_the_environments_key_goes_only_to_its_own_origin(entry: str, key: str | None, tmp_path: Path) -> None:
    """A base URL of one's own drops it: scheme, host and port all count."""
    text = f"providers: {{p: {entry}}}\n"
    found = loaded(text, tmp_path, {"DEEPSEEK_API_KEY": "env"}).providers["p"].api_key
    assert found == (Secret(key) if key else None)


def test_generic_models_and_prices_stay_at_home(tmp_path: Path) -> None:
    """Another server behind OpenAI's dialect serves neither OpenAI's models nor at its prices."""
    home = loaded("providers: {p: {kind: openai, api_key: k}}\n", tmp_path)
    assert (list(home.models), home.providers["p"].price_book) == (["gpt-5"], "openai")
    text = "providers: {p: {kind: openai, base_url: 'http://h/v1'}}\n"
    assert mistakes(text, tmp_path) == [
        "1: models: is missing, and p has no default models; name what clients may ask for",
    ]
    own = loaded(text + "models: {m: {deployments: [{provider: p}]}}\n", tmp_path)
    assert own.providers["p"].price_book == ""


def test_a_key_over_plain_http_is_warned_about(tmp_path: Path) -> None:
    """Loopback aside."""
    text = """
providers:
  a: {kind: vllm, base_url: 'http://h/v1', api_key: k}
  b: {kind: vllm, base_url: 'http://127.0.0.1:1/v1', api_key: k}
  c: {kind: vllm}
models: {m: {deployments: [{provider: a}, {provider: b}]}}
"""
    assert loaded(text, tmp_path).warnings == (
        "providers.a: its key travels unencrypted; use an https URL",
        "providers.c: no model is served there",
    )


# --- models ----------------------------------------------------------------------------------------------------


def test_providers_without_models_serve_their_defaults(tmp_path: Path) -> None:
    """Two of one kind share each model, the first being the baseline."""
    text = "providers: {a: {kind: deepseek, api_key: k}, b: {kind: deepseek, api_key: l}}\n"
    model = loaded(text, tmp_path).models["deepseek-flash"]
    assert [deployment.id for deployment in model.deployments] == ["a/deepseek-flash", "b/deepseek-flash"]
    assert model.baseline == model.deployments[0]


def test_a_model_overrides_what_it_names(tmp_path: Path) -> None:
    """Deadlines one by one; the cache by a time to live, or off; the rest as the file says."""
    text = """
timeouts: {total: 10m}
cache: {exact: {ttl: 2h}}
models:
  a:
    deployments: [{provider: sim, model: x, weight: 3, region: r}, {provider: sim}]
    balance: round_robin
    baseline: sim/a
    default_output: 7
    stream_upstream: yes
    timeouts: {first_byte: 9s}
    cache: {exact: off}
    aliases: {b: {thinking: {type: disabled}, n: 2, t: 0.5, on: true, none: null, text: "5"}, c: {}}
  d: {deployments: [{provider: sim}], cache: {exact: {ttl: 10m}}}
  e: {deployments: [{provider: sim}], cache: {exact: on}}
  f: {deployments: [{provider: sim}], cache: }
"""
    models = loaded(text, tmp_path).models
    a, b = models["a"], models["b"]
    assert [(each.id, each.weight, each.region) for each in a.deployments] == [("sim/x", 3, "r"), ("sim/a", 1, "")]
    assert (a.balance, a.baseline, a.default_output, a.stream_upstream) == ("round_robin", a.deployments[1], 7, True)
    assert a.timeouts == TimeoutSettings(connect_s=5, first_byte_s=9, between_s=60, total_s=600)
    assert [models[name].exact for name in "adef"] == [ExactSettings(0), ExactSettings(600), ExactSettings(7200), None]
    expected = {"thinking": {"type": "disabled"}, "n": 2, "t": 0.5, "on": True, "none": None, "text": "5"}
    assert b.fields == expected
    assert (b.name, b.alias_of, b.deployments, b.exact) == ("b", "a", a.deployments, a.exact)
    assert models["c"].fields == {}


def test_caches_are_overridden_by_key_and_tag(tmp_path: Path) -> None:
    """And switched off as a whole."""
    text = """
cache:
  exact: off
  share: team
  by_key: {k: {ttl: 1m}}
  by_tag: {"feature=search": {ttl: 5m}, "env=test": off}
"""
    cache = loaded(text, tmp_path).cache
    assert (cache.exact_ttl_s, cache.max_bytes, cache.share) == (0, 256 * 2**20, "team")
    assert cache.by_key == {"k": ExactSettings(60)}
    assert cache.by_tag == {"feature=search": ExactSettings(300), "env=test": ExactSettings(0)}


def test_static_keys_have_limits(tmp_path: Path) -> None:
    """Those absent are unlimited."""
    digest = "AB" * 32
    text = f"keys: [{{name: dev, key_sha256: {digest}, team: t, models: [sim-chat], rpm: 5, tpm: 6, concurrency: 7}}]"
    (key,) = loaded(text, tmp_path).keys
    assert (key.name, key.key_sha256, key.team, key.models) == ("dev", digest.lower(), "t", ("sim-chat",))
    assert (key.rpm, key.tpm, key.concurrency) == (5, 6, 7)


@pytest.mark.parametrize("written", ['"memory:"', "memory", "'memory:'"])
def test_the_memory_store_has_two_spellings(written: str, tmp_path: Path) -> None:
    """YAML takes the bare ``memory:`` for a mapping."""
    assert loaded(f"store: {written}\n", tmp_path).store == "memory:"


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    """What stands in the section itself goes before what is merged in, the nearest merge before those after it."""
    text = """
providers:
  one: &base {kind: vllm, base_url: 'http://one/v1', private: false}
  two: &two {<<: *base, base_url: 'http://two/v1'}
  three: {<<: [*two, *base], billed_at: completion}
models: {m: {deployments: [{provider: one}, {provider: two}, {provider: three}]}}
"""
    providers = loaded(text, tmp_path).providers
    assert [each.base_urls["chat"] for each in providers.values()] == [
        "http://one/v1",
        "http://two/v1",
        "http://two/v1",
    ]
    assert [each.private for each in providers.values()] == [False, False, False]


# --- all mistakes at once --------------------------------------------------------------------------------------


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    """Wrong types, unset variables, unknown names and what contradicts each other, in one go, by line."""
    text = """\
serve: {}
server: {listen: 0.0.0.0:1}
providers:
  a: {kind: deepsek}
  b: {api_key: x}
  c: {kind: vllm, private: maybe, api_key: '${NOWHERE}'}
models:
  m:
    balance: later
    deployments:
      - {weight: 1}
      - {provider: a}
      - {provider: b, weight: many}
      - {provider: nobody}
      - 5
    aliases: {x: {stream: true}}
  n: {deployments: []}
limits: {max_body: 8, max_body: 9}
"""
    lines = mistakes(text, tmp_path)
    assert [line.split(": ")[:2] for line in lines] == [
        ["1", "serve"],
        ["2", "server.listen"],
        ["4", "providers.a.kind"],
        ["5", "providers.b.kind"],
        ["6", "providers.c.api_key"],
        ["6", "providers.c.private"],
        ["9", "models.m.balance"],
        ["11", "models.m.deployments[0].provider"],
        ["13", "models.m.deployments[2].weight"],
        ["14", "models.m.deployments[3].provider"],
        ["15", "models.m.deployments[4]"],
        ["16", "models.m.aliases.x.stream"],
        ["17", "models.n.deployments"],
        ["18", "limits.max_body"],
        ["18", "limits.max_body"],
    ]


# --- the file itself -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"store: \xff\n", "1: this is not UTF-8 text; save the file as UTF-8"),
        (b"a: 1\n\nstore: \xe4\xb8\n", "3: this is not UTF-8 text; save the file as UTF-8"),
        (b"a: 1\nstore: \x00\n", "2: a control character stands here; remove it"),
        (b"#" * (2**20 + 1), "1: the file exceeds 1 MiB; a config is far smaller"),
        (b'a: "\\UFFFFFFFF"\n', "1: this is not valid YAML"),
        (b"%YAML " + b"9" * 5000 + b".1\n---\na: 1\n", "1: this is not valid YAML"),
    ],
)
def test_a_file_that_is_no_text_is_refused_with_its_line(data: bytes, line: str, tmp_path: Path) -> None:
    """Before anything is read from it."""
    assert mistakes(data, tmp_path) == [line]


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """Missing, or a directory."""
    for path, reason in ((tmp_path / "none.yaml", "no such file or directory"), (tmp_path, "is a directory")):
        with pytest.raises(ConfigError) as caught:
            load(path, {}, registry=KINDS)
        assert caught.value.mistakes[0].startswith(f"{path}: {reason}; ")


def test_the_file_beside_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``./penstock.yaml`` when it exists, else the built-in settings; a named file goes before both."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PENSTOCK_SECRET", "pepper")
    assert found_here() is None
    assert load_here(None, registry=KINDS).source == "built-in"
    assert load_here(None, registry=KINDS).directory == tmp_path
    Path("penstock.yaml").write_text("retry: {attempts: 2}\n", "utf-8")
    Path("other.yaml").write_text("retry: {attempts: 3}\n", "utf-8")
    found = load_here(None, registry=KINDS)
    assert (found.source, found.directory, found.retry.attempts) == ("penstock.yaml", tmp_path, 2)
    assert found.server.secret == Secret("pepper")
    assert load_here(Path("other.yaml"), registry=KINDS).retry.attempts == 3
