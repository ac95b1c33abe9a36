"""TLS to PostgreSQL, by the words of its own URLs: who is not believed is not spoken to, and it is said what to do."""

import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import StoreError
from penstock.stores.postgres import Postgres
from tests.contract.stores.postgres_nodes import node
from tests.support.certificates import Authority, Pair
from tests.support.postgres_server import PostgresServer, shared_server

_SPEAKS = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
_SETTINGS = ("ssl", "ssl_cert_file", "ssl_key_file")


class Guarded:
    """A server that speaks TLS, its CA, and one that is not its."""

    def __init__(self, directory: Path, server: PostgresServer) -> None:
        self.server = server
        self.ours, self.stranger = Authority(directory), Authority(directory, "stranger")

    def url(self, **words: Path | str) -> str:
        """Of a database that is migrated, with these words."""
        return f"{self.server.fresh('guarded')}?{'&'.join(f'{name}={value}' for name, value in words.items())}"

    def identify(self, pair: Pair) -> None:
        """Show this certificate from now on."""
        places = [self.server.directory / f"tls{path.suffix}" for path in pair]
        for path, place in zip(pair, places, strict=True):
            shutil.copy(path, place)
            place.chmod(0o600)
            if os.getuid() == 0:
                owner = pwd.getpwnam("nobody")
                os.chown(place, owner.pw_uid, owner.pw_gid)
        values = ("on", *map(str, places))
        self._set(*(f"SET {name} = '{value}'" for name, value in zip(_SETTINGS, values, strict=True)))

    def forget(self) -> None:
        """No more TLS."""
        self._set(*(f"RESET {name}" for name in _SETTINGS))

    def _set(self, *changes: str) -> None:
        async def change(connection: Any) -> None:
            for each in changes:
                await connection.execute(f"ALTER SYSTEM {each}")
            await connection.execute("SELECT pg_reload_conf()")

        self.server.run(change)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """The server of all tests, which speaks TLS in these."""
    made = Guarded(tmp_path_factory.mktemp("tls"), shared_server())
    made.identify(made.ours.issue("server"))
    yield made
    made.forget()


async def speaks_tls(url: str) -> bool:
    """Whether the connection is one. Raises StoreError."""
    pool = Postgres(url)
    try:
        return bool(await pool.fetchval(_SPEAKS))
    finally:
        await pool.close()


async def test_a_store_is_opened_by_tls(guarded: Guarded, tmp_path: Path) -> None:
    """By every word that the driver knows; all of it, with the name of the server, in ``verify-full``."""
    assert await speaks_tls(guarded.url(sslmode="require"))
    assert not await speaks_tls(guarded.url(sslmode="disable"))
    url = guarded.url(sslmode="verify-full", sslrootcert=guarded.ours.file)
    assert await speaks_tls(url)
    async with node(url, tmp_path / "a") as one:
        assert await one.requests() == 0


async def test_what_is_wrong_is_said_with_what_to_do(guarded: Guarded) -> None:
    """Another CA, none at all, a file that is not there, another name; never that the URL is none."""
    full: dict[str, Path | str] = {"sslmode": "verify-full"}
    with pytest.raises(StoreError, match="sslrootcert=FILE"):
        await speaks_tls(guarded.url(**full, sslrootcert=guarded.stranger.file))
    with pytest.raises(StoreError, match="wants a CA: name its file"):
        await speaks_tls(guarded.url(**full))
    with pytest.raises(StoreError, match="check the files that `store` names"):
        await speaks_tls(guarded.url(**full, sslrootcert="/nowhere/ca.pem"))
    guarded.identify(guarded.ours.issue("elsewhere", "elsewhere"))
    with pytest.raises(StoreError, match="let `store` name it as its certificate does"):
        await speaks_tls(guarded.url(**full, sslrootcert=guarded.ours.file))


async def test_a_server_without_tls_is_not_spoken_to_where_it_is_wanted(guarded: Guarded) -> None:
    """And that is said."""
    guarded.forget()
    with pytest.raises(StoreError, match="it has no TLS: set `ssl = on` there"):
        await speaks_tls(guarded.url(sslmode="require"))
