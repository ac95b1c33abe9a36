"""A few rows of providers for tests of the config, as the registry would hand them over."""

from penstock.config.kinds import DefaultAlias, Kind

DEEPSEEK = Kind(
    name="deepseek",
    adapter="deepseek",
    base_urls={
        "chat": "https://api.deepseek.com",
        "completions": "https://api.deepseek.com/beta",
        "messages": "https://api.deepseek.com/anthropic/v1",
    },
    env_key="DEEPSEEK_API_KEY",
    price_book="deepseek",
    balance_path="/user/balance",
    default_models=("deepseek-flash", "deepseek-v4-pro"),
    default_aliases={
        "deepseek-v4-flash": DefaultAlias("deepseek-flash"),
        "deepseek-chat": DefaultAlias("deepseek-flash", {"thinking": {"type": "disabled"}}),
        "deepseek-reasoner": DefaultAlias("deepseek-flash", {"thinking": {"type": "enabled"}}),
    },
)
OPENAI = Kind(
    name="openai",
    adapter="openai",
    base_urls=dict.fromkeys(("chat", "completions", "embeddings"), "https://api.openai.com/v1"),
    env_key="OPENAI_API_KEY",
    currency="USD",
    price_book="openai",
    default_models=("gpt-5",),
    generic=True,
)
ANTHROPIC = Kind(
    name="anthropic",
    adapter="anthropic",
    base_urls={"messages": "https://api.anthropic.com/v1"},
    env_key="ANTHROPIC_API_KEY",
    currency="USD",
    price_book="anthropic",
    default_models=("claude-haiku",),
)
VLLM = Kind(
    name="vllm",
    adapter="openai",
    base_urls=dict.fromkeys(("chat", "completions", "embeddings"), "http://127.0.0.1:8000/v1"),
    needs_key=False,
    after_disconnect="stops",
    billed_at="start",
    private=True,
)
ANYWHERE = Kind(name="anywhere", adapter="openai", needs_key=False)
ENGINE = Kind(
    name="engine",
    adapter="openai",
    base_urls=dict.fromkeys(("chat", "messages"), "http://127.0.0.1:30000/v1"),
    needs_key=False,
)
SIM = Kind(
    name="sim",
    adapter="sim",
    base_urls=dict.fromkeys(("chat", "embeddings"), "http://sim.invalid/v1"),
    needs_key=False,
    price_book="sim",
    default_models=("sim-chat", "sim-embed"),
)
KINDS = {kind.name: kind for kind in (DEEPSEEK, OPENAI, ANTHROPIC, VLLM, ANYWHERE, ENGINE, SIM)}
