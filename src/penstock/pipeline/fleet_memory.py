"""What is held against deployments and accounts, for another process to go on with: who is out stays out."""

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from penstock.config.settings import ProviderSettings
from penstock.core.breaker import ACCOUNT, DEPLOYMENT, Breaker, Past
from penstock.core.concurrency import Lesson
from penstock.pipeline.member import Account, Member


class AccountPast(msgspec.Struct, frozen=True):
    """An account that is out, or was asked too much of. Other credentials are another chance."""

    credentials: bytes
    """Their digest."""
    past: Past | None
    lessons: Mapping[str, Lesson]
    """What its 429s have taught, by model."""


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
        past, provider, account = member.breaker.past(now), member.deployment.provider, member.account
        if past is not None:
            deployments[member.id] = past
        lessons = {model: share.lesson for model, share in account.shares.items() if share.lesson != Lesson()}
        past = account.breaker.past(now)
        if past is not None or lessons:
            accounts[provider.name] = AccountPast(credentials_of(provider), past, lessons)
    return FleetMemory(deployments, accounts)


def remember(members: Iterable[Member], memory: FleetMemory) -> None:
    """Hold it against them, as far as the config still names them."""
    for member in members:
        provider = member.deployment.provider
        past = memory.deployments.get(member.id)
        if past is not None:
            member.breaker = Breaker(DEPLOYMENT, past)
        account = memory.accounts.get(provider.name)
        if account is not None and account.credentials == credentials_of(provider):
            _remember_account(member.account, account)


def _remember_account(account: Account, known: AccountPast) -> None:
    if known.past is not None:
        account.breaker = Breaker(ACCOUNT, known.past)
    for model, lesson in known.lessons.items():
        if model in account.shares:
            account.shares[model].heed(lesson)


def credentials_of(provider: ProviderSettings) -> bytes:
    """A digest of all that an account is known by; it says nothing of them."""
    key = provider.api_key.reveal() if provider.api_key is not None else None
    headers = sorted((name, value.reveal()) for name, value in provider.headers.items())
    told = (key, headers, sorted(provider.base_urls.items()))
    return hashlib.sha256(msgspec.json.encode(told)).digest()
