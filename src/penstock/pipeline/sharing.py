"""Who may be given the same answer: the cache key of an exchange, and the directive it came with."""

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from penstock.config.settings import CacheSettings, DeploymentSettings, ModelSettings
from penstock.core.cachekey import cache_key
from penstock.pipeline.exchange import Exchange

SHAREABLE = frozenset({"chat", "completions", "embeddings", "messages"})
"""Dialects whose answers are stored and joined."""

_encode = msgspec.json.encode


class Sharing:
    """Keys of answers: tenant + model + dialect + policy + every field that may change the answer."""

    def __init__(self, cache: CacheSettings, is_sensitive: Callable[[Exchange], bool]) -> None:
        """``is_sensitive``: whether private providers only may see an exchange: then it shares with its like only."""
        self._cache = cache
        self._is_sensitive = is_sensitive
        self._policies: dict[str, str] = {}

    def ttl_s(self, exchange: Exchange) -> float:
        """How long an answer to this exchange may be kept; 0 = not at all. A key overrides a tag, a tag a model."""
        cache, override = self._cache, None
        if cache.by_key:
            override = cache.by_key.get(exchange.principal.name) or cache.by_key.get(exchange.principal.edge)
        if override is None and cache.by_tag:
            named = [cache.by_tag[tag] for tag in exchange.asked.tag_names if tag in cache.by_tag]
            override = min(named, key=lambda exact: exact.ttl_s, default=None)
        if override is None:
            override = exchange.model.exact
        return cache.exact_ttl_s if override is None else override.ttl_s

    @property
    def stale_s(self) -> float:
        """How long past its time an answer is kept, for the ladder."""
        return self._cache.stale_s

    def key(self, exchange: Exchange) -> bytes:
        """The key, made once per exchange. An answer made without thinking is not one made with it."""
        if exchange.key is None:
            policy = self._policy(exchange)
            exchange.key = self._key(exchange, f"{policy} thinking off" if "thinking_off" in exchange.steps else policy)
        return exchange.key

    def better_key(self, exchange: Exchange) -> bytes | None:
        """The key of what would have been made, had the ladder not turned thinking off; None = it has not."""
        return self._key(exchange, self._policy(exchange)) if "thinking_off" in exchange.steps else None

    def _key(self, exchange: Exchange, policy: str) -> bytes:
        asked = exchange.asked
        tenant, model = self._tenant(exchange), exchange.model.name
        return cache_key(tenant, model, asked.dialect, policy, exchange.fields, headers=asked.forward)

    def _tenant(self, exchange: Exchange) -> str:
        share = self._cache.share
        if share == "all":
            return "all"
        if share == "team" and exchange.principal.team:
            edge, team = exchange.principal.edge_id, exchange.principal.team
            return f"edge:{edge}:{team}" if edge else f"team:{team}"
        return f"key:{exchange.principal.key_id}"

    def _policy(self, exchange: Exchange) -> str:
        """The fingerprint of what routing may do with the request; what only private providers may see is apart."""
        policy = self._routing(exchange.model)
        return f"{policy} private" if self._is_sensitive(exchange) else policy

    def _routing(self, model: ModelSettings) -> str:
        """Other deployments, or others behind their names, are another policy."""
        policy = self._policies.get(model.name)
        if policy is None:
            routes = (model.stream_upstream, sorted(map(_route, model.deployments)))
            policy = self._policies[model.name] = hashlib.sha256(_encode(routes)).hexdigest()[:16]
        return policy


def _route(deployment: DeploymentSettings) -> tuple[Any, ...]:
    """What decides where a request goes and as what; not the account that pays for it."""
    provider = deployment.provider
    headers = sorted((name, value.reveal()) for name, value in provider.headers.items())
    return deployment.id, deployment.region, provider.kind, sorted(provider.base_urls.items()), headers
