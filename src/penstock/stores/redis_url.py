"""What ``shared:`` says: which servers, how to get in, and whether they are a cluster.

``redis://[user[:password]@]host[:port][/db]``; ``rediss`` with TLS; ``valkey`` and ``valkeys`` are the same. Several
hosts with commas between them, or ``redis+cluster``, are a cluster, which has one database. With TLS the files go by
the names that they have in URLs of PostgreSQL: ``?sslrootcert=CA.pem&sslcert=OURS.pem&sslkey=OURS.key``.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from penstock.errors import StoreError

PORT: Final = 6379
_SCHEMES: Final = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_CLUSTER: Final = "+cluster"
_LAST_PORT: Final = 65535
_FILES: Final = ("sslrootcert", "sslcert", "sslkey")


class Files(NamedTuple):
    """What TLS reads; "" = the system's CAs, and no certificate of ours."""

    ca: str
    certificate: str
    key: str


class Address(NamedTuple):
    """Where one server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """How to reach what the nodes share."""

    addresses: tuple[Address, ...]
    cluster: bool
    tls: bool
    user: str
    password: str = field(repr=False)
    db: int
    files: Files

    @property
    def login(self) -> tuple[str, ...]:
        """The arguments of AUTH; empty = none is wanted."""
        if not self.password:
            return ()
        return (self.user, self.password) if self.user else (self.password,)

    def __str__(self) -> str:
        return ",".join(str(address) for address in self.addresses)


def read_redis_url(url: str) -> RedisUrl:
    """Raises StoreError, which never repeats a password."""
    scheme, _, rest = url.partition("://")
    name, cluster = scheme.removesuffix(_CLUSTER), scheme.endswith(_CLUSTER)
    if name not in _SCHEMES or not rest:
        raise StoreError(f"unknown shared store {scheme!r}: write redis://HOST:PORT/DB or redis+cluster://HOST,HOST")
    login, _, place = rest.rpartition("@")
    place, _, query = place.partition("?")
    hosts, _, path = place.partition("/")
    user, _, password = login.partition(":")
    addresses = tuple(_address(host) for host in hosts.split(","))
    many = cluster or len(addresses) > 1
    tls, db = _SCHEMES[name], _db(path, many=many)
    return RedisUrl(addresses, many, tls, unquote(user), unquote(password), db, _files(query, tls=tls))


def _address(host: str) -> Address:
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port
    except ValueError:
        parts, port = None, None
    if parts is None or not parts.hostname or (port is not None and not 0 < port <= _LAST_PORT):
        raise StoreError(f"{host!r} is no host of a shared store: write HOST or HOST:PORT")
    return Address(parts.hostname, port or PORT)


def _db(path: str, *, many: bool) -> int:
    if not path:
        return 0
    if not path.isdecimal():
        raise StoreError(f"/{path} is no database of a shared store: write a number")
    if many and int(path):
        raise StoreError("a cluster has one database: leave it out")
    return int(path)


def _files(query: str, *, tls: bool) -> Files:
    found = dict(parse_qsl(query, keep_blank_values=True))
    if strange := found.keys() - set(_FILES):
        raise StoreError(f"{min(strange)!r} is no part of a shared store's URL: write {', '.join(_FILES)}")
    if found and not tls:
        raise StoreError(f"{min(found)} is for TLS: write rediss://")
    return Files(*(found.get(name, "") for name in _FILES))
