"""One provider and one gateway for all SDK tests; every test gets a new script, and asks what no other test asks.

All of them run on one node with SQLite and on two nodes with Redis and PostgreSQL.
"""

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.support.sdk_gateway import SdkGateway, sdk_gateway, two_nodes
from tests.support.upstream import Upstream, upstream


@pytest.fixture(scope="session")
def shared_upstream() -> Iterator[Upstream]:
    """Listens for as long as the tests run."""
    with upstream() as made:
        yield made


@pytest.fixture(scope="session", params=[sdk_gateway, two_nodes], ids=["one_node", "two_nodes"])
def shared_gateway(
    request: pytest.FixtureRequest,
    shared_upstream: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SdkGateway]:
    """Serves for as long as its tests run."""
    with request.param(tmp_path_factory.mktemp("gateway"), shared_upstream) as made:
        yield made


@pytest.fixture
def up(shared_upstream: Upstream) -> Upstream:
    """The provider, with nothing scripted and nothing asked."""
    shared_upstream.forget()
    return shared_upstream


@pytest.fixture
def gateway(shared_gateway: SdkGateway, up: Upstream) -> SdkGateway:
    """The gateway of ``sdk_gateway.py``, before ``up``."""
    del up  # asked for, so that it has forgotten
    return shared_gateway


_numbers = itertools.count()


@pytest.fixture
def fresh(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes questions that nobody asked before: no answer to them is cached."""
    return lambda: f"{request.node.name} {next(_numbers)}"
