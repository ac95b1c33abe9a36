"""The kinds of provider there are. A provider is a row here; it gets a file only when it has behaviour.

To add one: a row, and ``prices/<name>.yaml`` if it is priced. Base URLs, dialects and key variables are the vendors'
own (their API references, November 2026); what a hosted API does with an abandoned call is documented by none, so
``completes`` is assumed, which never charges too little.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from penstock.config.kinds import DefaultAlias, Kind
from penstock.ports.providers import Adapter
from penstock.providers.anthropic import Anthropic
from penstock.providers.deepseek import DeepSeek
from penstock.providers.openai import OpenAICompatible
from penstock.providers.penstock import Penstock

_OPENAI: Final = ("chat", "completions", "embeddings")
_ALL: Final = (*_OPENAI, "messages")
_DISABLED: Final = {"thinking": {"type": "disabled"}}
_SWITCHED_OFF: Final = {"enable_thinking": False}
_TEMPLATE_OFF: Final = {"chat_template_kwargs": {"enable_thinking": False}}
"""How thinking is turned off: at DeepSeek, Z.ai, Kimi and Ark; at DashScope and SiliconFlow; in engines' templates."""
_ADAPTERS: Final[Mapping[str, Adapter]] = {
    "openai": OpenAICompatible(),
    "deepseek": DeepSeek(),
    "anthropic": Anthropic(),
    "penstock": Penstock(),
}


def _at(base: str, dialects: Iterable[str], messages: str = "") -> dict[str, str]:
    urls = dict.fromkeys(dialects, base)
    return {**urls, "messages": messages} if messages else urls


def _self_hosted(name: str, port: int, thinking_off: Mapping[str, Any] = _TEMPLATE_OFF) -> Kind:
    """An engine of the operator's own: it stops when its client leaves, and no data goes out of the house."""
    return Kind(
        name=name,
        adapter="openai",
        base_urls=_at(f"http://127.0.0.1:{port}/v1", _ALL),
        needs_key=False,
        after_disconnect="stops",
        private=True,
        thinking_off=thinking_off,
    )


_ROWS: Final = (
    Kind(
        name="deepseek",
        adapter="deepseek",
        base_urls={
            "chat": "https://api.deepseek.com",
            "completions": "https://api.deepseek.com/beta",
            "messages": "https://api.deepseek.com/anthropic/v1",
        },
        env_key="DEEPSEEK_API_KEY",
        price_book="deepseek",
        default_models=("deepseek-flash", "deepseek-v4-pro"),
        default_aliases={
            "deepseek-v4-flash": DefaultAlias("deepseek-flash"),
            "deepseek-chat": DefaultAlias("deepseek-flash", _DISABLED),
            "deepseek-reasoner": DefaultAlias("deepseek-flash", {"thinking": {"type": "enabled"}}),
        },
        thinking_off=_DISABLED,
        concurrency={"deepseek-flash": 2500, "deepseek-v4-flash": 2500, "deepseek-v4-pro": 500},
        balance_path="/user/balance",
    ),
    Kind(
        name="openai",
        adapter="openai",
        base_urls=_at("https://api.openai.com/v1", _OPENAI),
        env_key="OPENAI_API_KEY",
        currency="USD",
        price_book="openai",
        default_models=("gpt-6.1-sol", "gpt-6-sol", "gpt-6-luna"),
        generic=True,
        cap_field="max_completion_tokens",
    ),
    Kind(
        name="anthropic",
        adapter="anthropic",
        base_urls=_at("https://api.anthropic.com/v1", ("messages",)),
        env_key="ANTHROPIC_API_KEY",
        currency="USD",
        price_book="anthropic",
        default_models=("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"),
    ),
    Kind(
        name="dashscope",
        adapter="openai",
        base_urls=_at(
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
            _OPENAI,
            "https://dashscope.aliyuncs.com/apps/anthropic/v1",
        ),
        env_key="DASHSCOPE_API_KEY",
        price_book="dashscope",
        default_models=("qwen3.6-plus", "qwen3.5-plus", "qwen3-max", "deepseek-v4-pro-0813"),
        thinking_off=_SWITCHED_OFF,
    ),
    Kind(
        name="zhipu",
        adapter="openai",
        base_urls=_at("https://open.bigmodel.cn/api/paas/v4", ("chat", "embeddings")),
        env_key="ZHIPUAI_API_KEY",
        price_book="zhipu",
        default_models=("glm-5.3", "glm-5.3-flash"),
        thinking_off=_DISABLED,
    ),
    Kind(
        name="moonshot",
        adapter="openai",
        base_urls=_at("https://api.moonshot.cn/v1", ("chat",), "https://api.moonshot.cn/anthropic/v1"),
        env_key="MOONSHOT_API_KEY",
        price_book="moonshot",
        default_models=("kimi-k3", "kimi-k2.6"),
        thinking_off=_DISABLED,
    ),
    Kind(
        name="ark",
        adapter="openai",
        base_urls=_at("https://ark.cn-beijing.volces.com/api/v3", ("chat", "embeddings")),
        env_key="ARK_API_KEY",
        price_book="ark",
        default_models=("doubao-seed-2-1-pro-260915", "doubao-seed-2-0-pro-260215", "doubao-seed-2-0-lite-260215"),
        thinking_off=_DISABLED,
    ),
    Kind(
        name="siliconflow",
        adapter="openai",
        base_urls=_at("https://api.siliconflow.cn/v1", _OPENAI),
        env_key="SILICONFLOW_API_KEY",
        price_book="siliconflow",
        default_models=("Qwen/Qwen3.6-35B-A3B",),
        thinking_off=_SWITCHED_OFF,
    ),
    Kind(
        name="openrouter",
        adapter="openai",
        base_urls=_at("https://openrouter.ai/api/v1", _OPENAI),
        env_key="OPENROUTER_API_KEY",
        currency="USD",
        price_book="openrouter",
        default_models=("z-ai/glm-5.3",),
    ),
    _self_hosted("vllm", 8000),
    _self_hosted("sglang", 30000),
    _self_hosted("llamacpp", 8080),
    _self_hosted("ollama", 11434, {"reasoning_effort": "none"}),
    Kind(
        name="penstock",
        adapter="penstock",
        dialects=_ALL,
        after_disconnect="stops",
        charged_elsewhere=True,
    ),
    Kind(
        name="sim",
        adapter="openai",
        base_urls=_at("http://sim.invalid/v1", _ALL),
        needs_key=False,
        after_disconnect="stops",
        price_book="sim",
        private=True,
        default_models=("sim-chat", "sim-embed"),
    ),
    Kind(
        name="scripted",
        adapter="deepseek",
        base_urls=_at("http://scripted.invalid/v1", _ALL),
        needs_key=False,
        thinking_off=_DISABLED,
    ),
)

KINDS: Final[Mapping[str, Kind]] = {row.name: row for row in _ROWS}
"""Every kind by its name: what ``providers.<name>.kind`` may say."""


def adapter(kind: str) -> Adapter:
    """The adapter that speaks to a kind of provider. Raises KeyError for a kind that is none."""
    return _ADAPTERS[KINDS[kind].adapter]
