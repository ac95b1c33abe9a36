"""Where a provider entry's calls go, and what follows from that: its dialects, its key, its models, its prices."""

from collections.abc import Sequence
from typing import Final

from penstock.config.formats import origin
from penstock.config.kinds import Kind
from penstock.config.schema import ProviderSection

_OPENAI_DIALECTS: Final = ("chat", "completions", "embeddings")


def base_urls(section: ProviderSection, kind: Kind) -> dict[str, str]:
    """Dialect -> base URL, for the dialects the provider speaks."""
    urls = dict(kind.base_urls)
    if section.base_url:
        urls = _moved(urls, section.base_url, kind.dialects or _OPENAI_DIALECTS)
    if section.messages_url:
        urls["messages"] = section.messages_url
    if section.dialects is None:
        return urls
    found = {dialect: urls.get(dialect) or _widened(section, urls, dialect) for dialect in section.dialects}
    return {dialect: url for dialect, url in found.items() if url}


def at_home(section: ProviderSection, kind: Kind) -> bool:
    """Whether all its calls go to the kind's own origins: only there do the kind's key and generic models belong."""
    homes = {origin(url) for url in kind.base_urls.values()}
    return all(origin(url) in homes for url in (section.base_url, section.messages_url) if url)


def default_models(section: ProviderSection, kind: Kind) -> tuple[str, ...]:
    """What it serves when the file says nothing."""
    return kind.default_models if not kind.generic or at_home(section, kind) else ()


def price_book(section: ProviderSection, kind: Kind) -> str:
    """The price file its models are looked up in; "" = none."""
    if section.price_book is not None:
        return section.price_book
    return kind.price_book if not kind.generic or at_home(section, kind) else ""


def billing_currency(section: ProviderSection, kind: Kind, book: str) -> str:
    """What it bills in."""
    if section.prices is not None:
        return section.prices.currency or book
    return section.currency or kind.currency


def is_priced(section: ProviderSection, kind: Kind) -> bool:
    """Whether prices are known for it at all."""
    return section.prices is not None or price_book(section, kind) != ""


def _moved(urls: dict[str, str], base_url: str, dialects: Sequence[str]) -> dict[str, str]:
    """The kind's dialects at another base. An Anthropic base of its own path stays, but only on the same origin."""
    messages = urls.get("messages")
    if messages and messages != urls.get("chat", messages):
        del urls["messages"]
    moved = dict.fromkeys(urls or dialects, base_url)
    if messages and "messages" not in moved and origin(messages) == origin(base_url):
        moved["messages"] = messages
    return moved


def _widened(section: ProviderSection, urls: dict[str, str], dialect: str) -> str | None:
    """The base of a dialect that the kind does not have."""
    return section.base_url or (None if dialect == "messages" else urls.get("chat"))
