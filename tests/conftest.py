"""For every test: an empty environment, no way out but loopback, seeded properties, no silent skips, and a turn."""

import asyncio
import gc
import ipaddress
import os
import re
import sys
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres_server import end_shared_server
from tests.support.turns import Turns, is_alone, longest_first

REQUIRE_ALL = os.environ.get("PENSTOCK_REQUIRE") == "all"
"""Set by ``.ci/run``: a test that skips because something is missing fails instead."""

FOREIGN = re.compile(
    r"(HTTPS?|ALL|NO)_PROXY|SSL_CERT_(FILE|DIR)|SSLKEYLOGFILE|(REQUESTS|CURL)_CA_BUNDLE|NODE_EXTRA_CA_CERTS"
    r"|\w+_API_KEY|\w+_BASE_URL|(OPENAI|ANTHROPIC|LANGCHAIN|LANGSMITH|PENSTOCK)_\w+",
    re.IGNORECASE,
)
"""Variables that would change what the code under test, or an SDK beside it, does."""

# The machines that run this are slow and shared: a deadline or a "too slow" would fail for their sake, not for ours.
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


class WayOut(AssertionError):
    """A test reached for a host that is not this machine."""


def _is_loopback(host: object) -> bool:
    """Whether ``host`` (a name or an address, None = the wildcard) is this machine."""
    if host is None:
        return True
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name in {"", "localhost"}:
        return True
    try:
        address = ipaddress.ip_address(name.split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse_way_out(event: str, args: tuple[object, ...]) -> None:
    """An audit hook, so it sees every Python socket; clients in Rust or C make theirs unseen."""
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event in {"socket.connect", "socket.sendto"}:
        address = args[1]
        if not isinstance(address, tuple):
            return
        host = address[0]
    else:
        return
    if not _is_loopback(host):
        message = f"{event} to {host!r}: tests talk to loopback only"
        raise WayOut(message)


sys.addaudithook(_refuse_way_out)


@pytest.fixture(scope="session", autouse=True)
def _empty_environment() -> Iterator[None]:
    """Before anything else of the session, so that processes started for it inherit nothing either."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if FOREIGN.fullmatch(name)]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_stray_loop() -> None:
    """Asked for a loop before any was set, asyncio makes one; looptime asks, even for sync tests, and it is lost."""
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session", autouse=True)
def _shared_servers_end() -> Iterator[None]:
    """PostgreSQL, started by the first test that asks for it, ends with the last."""
    yield
    end_shared_server()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under PENSTOCK_REQUIRE=all a skipped test is a failed one."""
    report = yield
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and PENSTOCK_REQUIRE=all lets nothing skip: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a file that skips itself as a whole."""
    report = yield
    if REQUIRE_ALL and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, and PENSTOCK_REQUIRE=all lets nothing skip: {report.longrepr}"
    return report


# --- workers beside each other (`make test`)

TURNS = pytest.StashKey[Turns]()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, for many tests wait for other processes; few, for all of them start servers."""
    return min(4, len(os.sched_getaffinity(0)) + 1)


def pytest_configure(config: pytest.Config) -> None:
    """A worker takes turns with the others of its run. Nothing that is collected is garbage: nobody need look."""
    gc.disable()
    if hasattr(config, "workerinput"):
        config.stash[TURNS] = Turns(config.workerinput["testrunuid"])


def pytest_unconfigure(config: pytest.Config) -> None:
    """The end of the worker."""
    if TURNS in config.stash:
        config.stash[TURNS].end()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The same order in every worker."""
    if TURNS in config.stash:
        longest_first(items)


def pytest_collection_finish() -> None:
    """Thousands of tests stay: the collector need not walk through them again and again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Its fixtures are part of its turn."""
    if TURNS not in item.config.stash:
        return (yield)
    with item.config.stash[TURNS].turn(alone=is_alone(item)):
        return (yield)
