"""Who may be given the same answer: the cache key of an exchange, and the directive it came with."""

import hashlib

from penstock.config.settings import CacheSettings, ModelSettings
from penstock.core.cachekey import cache_key
from penstock.pipeline.exchange import Exchange

SHAREABLE = frozenset({"chat", "completions", "embeddings", "messages"})
"""Dialects whose answers are stored and joined."""


class Sharing:
    """Keys of answers: tenant + model + dialect + policy + every field that may change the answer."""

    def __init__(self, cache: CacheSettings) -> None:
        self._cache = cache
        self._policies: dict[str, str] = {}

    def ttl_s(self, exchange: Exchange) -> float:
        """How long an answer to this exchange may be kept; 0 = not at all. A key overrides a tag, a tag a model."""
        cache = self._cache
        override = cache.by_key.get(exchange.principal.name)
        if override is None and cache.by_tag:
            named = [cache.by_tag[tag] for tag in tag_names(exchange) if tag in cache.by_tag]
            override = min(named, key=lambda exact: exact.ttl_s, default=None)
        if override is None:
            override = exchange.model.exact
        return cache.exact_ttl_s if override is None else override.ttl_s

    def key(self, exchange: Exchange) -> bytes:
        """The key, made once per exchange."""
        if exchange.key is None:
            exchange.key = cache_key(
                self._tenant(exchange),
                exchange.model.name,
                exchange.asked.dialect,
                self._policy(exchange.model),
                exchange.fields,
            )
        return exchange.key

    def _tenant(self, exchange: Exchange) -> str:
        share = self._cache.share
        if share == "all":
            return "all"
        if share == "team" and exchange.principal.team:
            return f"team:{exchange.principal.team}"
        return f"key:{exchange.principal.key_id}"

    def _policy(self, model: ModelSettings) -> str:
        """The fingerprint of what routing may do with the request: another set of deployments, another answer."""
        policy = self._policies.get(model.name)
        if policy is None:
            routes = "\n".join(sorted(deployment.id for deployment in model.deployments))
            policy = self._policies[model.name] = hashlib.sha256(routes.encode()).hexdigest()[:16]
        return policy


def tag_names(exchange: Exchange) -> tuple[str, ...]:
    """The exchange's tags as ``name=value``."""
    return tuple(f"{name}={value}" for name, value in exchange.asked.tags.items())
