"""Whether what nodes share is well, and what it would lose."""

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Final

from penstock.core.findings import Finding, fail, ok, warn
from penstock.errors import SharedUnavailable
from penstock.ports.clock import Clock
from penstock.ports.leases import Epoch
from penstock.stores.redis_link import RedisLink

HEAD: Final = b"{penstock:money}:head"
PROBE: Final = b"{penstock:money}:doctor"
SAFE: Final = "leases only, budgets safe"
"""What Redis holds where it keeps nothing: what was lent, which is made again from PostgreSQL."""

_PINGS: Final = 5
_SLOW_S: Final = 0.01
_TOO_SLOW_S: Final = 0.05
"""The deadline of every call."""
_FULL: Final = 0.9
_SLOTS: Final = "16384"

Facts = Mapping[str, str]


async def examine_redis(link: RedisLink, clock: Clock, epoch: Epoch | None) -> list[Finding]:
    """What a node would find. ``epoch``: as PostgreSQL has it, None = it cannot say. Raises SharedUnavailable."""
    facts = await _facts(link)
    findings = [*_server(facts, await _latency_s(link, clock)), *_memory(facts), await _writable(link)]
    findings.append(ok("shared", _persistence(facts)))
    if facts.get("cluster_enabled") == "1":
        findings.append(await _cluster(link))
    return [*findings, *([] if epoch is None else [await _epoch(link, epoch)])]


async def describe_persistence(link: RedisLink) -> str:
    """What a restart takes from it; "" = it does not say. Never raises."""
    try:
        return _persistence(await _facts(link))
    except SharedUnavailable:
        return ""


async def _facts(link: RedisLink) -> Facts:
    """What the server that has the money says of itself, and when it saves. Raises SharedUnavailable."""
    lines = (await link.call(HEAD, "INFO")).decode("utf-8", "replace").splitlines()
    facts = {name: value for name, _, value in (line.partition(":") for line in lines) if name[:1] not in {"#", ""}}
    try:
        name, save = await link.call(HEAD, "CONFIG", "GET", "save")
    except (SharedUnavailable, ValueError):  # it may be kept from us
        return facts
    return {**facts, name.decode(): save.decode()}


async def _latency_s(link: RedisLink, clock: Clock) -> float:
    """Of a round trip; the one in the middle."""
    took = []
    for _ in range(_PINGS):
        began = clock.monotonic()
        await link.call(HEAD, "HGET", HEAD, "epoch")
        took.append(clock.monotonic() - began)
    return median(took)


def _server(facts: Facts, latency_s: float) -> Iterator[Finding]:
    name = f"Redis {facts.get('redis_version', '?')}"
    if "valkey_version" in facts:
        name = f"Valkey {facts['valkey_version']}"
    found = f"{name}, a round trip is {latency_s * 1000:.1f} ms"
    if facts.get("role") == "slave":
        yield fail("shared", f"{name} is a replica", "let `shared` name the primary")
    elif latency_s >= _TOO_SLOW_S:
        yield fail("shared", found, f"calls give up after {_TOO_SLOW_S * 1000:.0f} ms: put it nearer")
    elif latency_s >= _SLOW_S:
        yield warn("shared", found, "two of them are in every request: put it nearer")
    else:
        yield ok("shared", found)


def _memory(facts: Facts) -> Iterator[Finding]:
    policy, most = facts.get("maxmemory_policy", ""), int(facts.get("maxmemory", "0") or 0)
    cure = "CONFIG SET maxmemory-policy noeviction, and maxmemory by what the cache may hold"
    if policy.startswith("allkeys"):
        yield warn("shared", f"maxmemory-policy {policy} evicts what is lent: all nodes begin anew each time", cure)
    elif policy and policy != "noeviction":
        yield warn("shared", f"maxmemory-policy {policy} evicts answers, flights and rates before their time", cure)
    if most and int(facts.get("used_memory", "0")) > _FULL * most:
        used = int(facts["used_memory"]) / most
        yield warn("shared", f"{used:.0%} of its maxmemory is used", "raise maxmemory, or lower cache.exact.max_bytes")


async def _writable(link: RedisLink) -> Finding:
    """By a key that is gone within a millisecond."""
    try:
        await link.call(PROBE, "EVAL", "return redis.call('SET', KEYS[1], '1', 'PX', 1)", 1, PROBE)
    except SharedUnavailable as error:
        return fail("shared", f"it takes no writes: {error.detail}", _cure_of(error.detail))
    return ok("shared", "scripts run, and may write")


def _cure_of(said: str) -> str:
    if "OOM" in said:
        return "raise maxmemory: budgets are lent from it, and it may evict nothing"
    if "MISCONF" in said:
        return "its disk is full or broken: free it, or CONFIG SET stop-writes-on-bgsave-error no"
    return "let `shared` name a primary, with a user who may run scripts on penstock* and {penstock*"


def _persistence(facts: Facts) -> str:
    if facts.get("aof_enabled") == "1":
        return f"an append-only file outlives a restart; {SAFE}"
    save = facts.get("save")
    if save is None:
        return f"it does not say what outlives a restart; {SAFE} in any case"
    return f"snapshots may outlive a restart, and are not believed; {SAFE}" if save else f"no persistence: {SAFE}"


async def _cluster(link: RedisLink) -> Finding:
    said = (await link.call(HEAD, "CLUSTER", "INFO")).decode().split()
    facts = dict(line.split(":", 1) for line in said if ":" in line)
    state, slots = facts.get("cluster_state", "?"), facts.get("cluster_slots_ok", "?")
    if state == "ok" and slots == _SLOTS:
        return ok("shared", f"a cluster of {facts.get('cluster_size', '?')} masters, all slots served")
    cure = "bring its missing masters back: budgets whose slot is not served are not lent"
    return fail("shared", f"the cluster is {state}, {slots} of {_SLOTS} slots are served", cure)


async def _epoch(link: RedisLink, epoch: Epoch) -> Finding:
    """A Redis that is behind was emptied or rewound, which nodes see to; one that is ahead is another gateway's."""
    found = await link.call(HEAD, "HGET", HEAD, "epoch")
    number = None if found is None else int(found)
    if number is not None and number > epoch.number:
        cure = "give each gateway a Redis of its own, or restore the PostgreSQL that it belongs to"
        return fail("epoch", f"{number} in Redis is ahead of {epoch.number} in PostgreSQL", cure)
    if number is None or number < epoch.number:
        return ok("epoch", f"{'none' if number is None else number} in Redis: the next node begins one")
    return ok("epoch", f"{number}, in Redis as in PostgreSQL")
