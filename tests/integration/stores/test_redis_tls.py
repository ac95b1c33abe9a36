"""TLS to Redis: who is not believed is not spoken to, and what is wrong is said with what to do."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock.clock import SystemClock, SystemRng
from penstock.errors import SharedUnavailable, StoreError
from penstock.stores.redis_link import RedisLink
from penstock.stores.redis_url import read_redis_url
from tests.support.certificates import Authority
from tests.support.redis_server import RedisServer, free_port, redis_server

KEY = b"a key"
PATIENT_S = 2.0


class Guarded:
    """A Redis that speaks TLS at one port and none at another, its CA, and one that is not its."""

    def __init__(self, directory: Path, server: RedisServer) -> None:
        self.server = server
        self.port = free_port()
        self.ours, self.stranger = Authority(directory), Authority(directory, "stranger")
        self.identify("leaf")

    def identify(self, kind: str, *, clients: str = "no") -> None:
        """Show a certificate of that kind; ``clients``: whether one is wanted of them."""
        pair = self.ours.issue(kind, kind)
        words = {
            "tls-cert-file": pair.certificate,
            "tls-key-file": pair.key,
            "tls-ca-cert-file": self.ours.file,
            "tls-auth-clients": clients,
            "tls-port": self.port,
        }
        self.server.call("CONFIG", "SET", *(str(word) for pair in words.items() for word in pair))

    def url(self, **files: Path | str) -> str:
        """With these files."""
        query = "&".join(f"{name}={value}" for name, value in files.items())
        return f"rediss://127.0.0.1:{self.port}{'?' if query else ''}{query}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One for all of them."""
    with redis_server() as server:
        yield Guarded(tmp_path_factory.mktemp("tls"), server)


@asynccontextmanager
async def linked(url: str) -> AsyncIterator[RedisLink]:
    """One that is open."""
    link = RedisLink(read_redis_url(url), SystemClock(), SystemRng(1), deadline_s=PATIENT_S)
    try:
        await link.open()
        yield link
    finally:
        await link.close()


async def refused(url: str) -> str:
    """What is said to the operator."""
    with pytest.raises(SharedUnavailable) as caught:
        async with linked(url):
            pass
    return caught.value.detail


async def test_who_shows_a_certificate_of_the_ca_is_spoken_to(guarded: Guarded) -> None:
    """Calls and scripts go by TLS, under the CA that the URL names."""
    async with linked(guarded.url(sslrootcert=guarded.ours.file)) as link:
        assert await link.call(KEY, "SET", KEY, "1") == b"OK"
        assert await link.server(KEY)


async def test_what_is_wrong_with_a_certificate_is_said_with_what_to_do(guarded: Guarded) -> None:
    """Another CA, the system's ones, another name."""
    assert "sslrootcert=" in await refused(guarded.url(sslrootcert=guarded.stranger.file))
    assert "sslrootcert=" in await refused(guarded.url())
    guarded.identify("elsewhere")
    assert "let `shared` name it as its certificate does" in await refused(
        guarded.url(sslrootcert=guarded.ours.file)
    )  # fmt: skip
    guarded.identify("leaf")


async def test_a_server_that_wants_our_certificate_gets_it(guarded: Guarded) -> None:
    """Without one it says what is missing."""
    guarded.identify("leaf", clients="yes")
    try:
        assert "sslcert" in await refused(guarded.url(sslrootcert=guarded.ours.file))
        pair = guarded.ours.issue("client")
        url = guarded.url(sslrootcert=guarded.ours.file, sslcert=pair.certificate, sslkey=pair.key)
        async with linked(url) as link:
            assert await link.call(KEY, "PING") == b"PONG"
        wrong = guarded.url(sslcert=pair.certificate, sslkey=guarded.ours.issue("other").key)
        assert "sslcert or sslkey" in await refused(wrong)
    finally:
        guarded.identify("leaf")


async def test_tls_on_one_side_only_is_said(guarded: Guarded) -> None:
    """A server without TLS, a URL without it, a file that is not there."""
    assert "write redis://" in await refused(f"rediss://127.0.0.1:{guarded.server.port}")
    assert "write rediss://" in await refused(f"redis://127.0.0.1:{guarded.port}")
    said = await refused(guarded.url(sslrootcert="/nowhere/ca.pem"))
    assert "sslrootcert" in said
    assert "/nowhere/ca.pem: No such file" in said


@pytest.mark.parametrize("url", ["redis://h?sslrootcert=/ca.pem", "rediss://h?ca=/ca.pem"])
def test_a_file_that_is_for_nothing_is_refused(url: str) -> None:
    """With what to write."""
    with pytest.raises(StoreError, match="write"):
        read_redis_url(url)


def test_a_url_names_the_files_of_tls() -> None:
    """Beside hosts and database, by the names that PostgreSQL's URLs have."""
    url = read_redis_url("rediss://u:p@a:1/2?sslrootcert=/etc/ca.pem&sslcert=/c.pem&sslkey=/c.key")
    assert (url.db, url.tls, tuple(url.files)) == (2, True, ("/etc/ca.pem", "/c.pem", "/c.key"))
    assert read_redis_url("rediss://a").files == ("", "", "")
