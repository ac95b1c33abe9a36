"""What is held against deployments and accounts, for another process to go on with: who is out stays out."""

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from penstock.config.settings import ProviderSettings
from penstock.core.breaker import ACCOUNT, DEPLOYMENT, Breaker, Past
from penstock.pipeline.member import Member


class AccountPast(msgspec.Struct, frozen=True):
    """An account that is out. Other credentials are another chance."""

    credentials: bytes
    """Their digest."""
    past: Past


class FleetMemory(msgspec.Struct, frozen=True):
    """Those of which nothing is said are well."""

    deployments: Mapping[str, Past] = {}
    """By id."""
    accounts: Mapping[str, AccountPast] = {}
    """By the provider's name."""


def memory_of(members: Iterable[Member], now: float) -> FleetMemory:
    """What is held against these now."""
    deployments, accounts = {}, {}
    for member in members:
        past, provider = member.breaker.past(now), member.deployment.provider
        if past is not None:
            deployments[member.id] = past
        past = member.account.breaker.past(now)
        if past is not None:
            accounts[provider.name] = AccountPast(credentials_of(provider), past)
    return FleetMemory(deployments, accounts)


def remember(members: Iterable[Member], memory: FleetMemory) -> None:
    """Hold it against them, as far as the config still names them."""
    resumed: dict[str, Breaker] = {}
    for member in members:
        provider = member.deployment.provider
        past = memory.deployments.get(member.id)
        if past is not None:
            member.breaker = Breaker(DEPLOYMENT, past)
        account = memory.accounts.get(provider.name)
        if account is not None and account.credentials == credentials_of(provider):
            member.account.breaker = resumed.setdefault(provider.name, Breaker(ACCOUNT, account.past))


def credentials_of(provider: ProviderSettings) -> bytes:
    """A digest of all that an account is known by; it says nothing of them."""
    key = provider.api_key.reveal() if provider.api_key is not None else None
    headers = sorted((name, value.reveal()) for name, value in provider.headers.items())
    told = (key, headers, sorted(provider.base_urls.items()))
    return hashlib.sha256(msgspec.json.encode(told)).digest()
