"""TLS to what the nodes share: which certificates are believed, which one is ours, and what is said where it fails.

Files that were renewed are read again with the next connection. What was read is kept: the system's CAs take a tenth
of a second and more, which is no time to take from each attempt at a connection.
"""

import ssl
from functools import lru_cache
from pathlib import Path

from penstock.errors import SharedRefused
from penstock.stores.redis_url import Files, RedisUrl

_BELIEVED = "let `shared` name the file of its CA: rediss://...?sslrootcert=/etc/penstock/ca.pem"
_NAMED = "let `shared` name it as its certificate does, or have it issued one for this name"
_MISMATCH = "mismatch"
_OURS = "let `shared` name one that its CA issued: rediss://...?sslcert=FILE&sslkey=FILE"


def security_of(files: Files) -> ssl.SSLContext:
    """Names and chains are checked, always. Raises SharedRefused where a file is of no use."""
    return _read(files, tuple(_changed_at(path) for path in files))


@lru_cache(maxsize=4)
def _read(files: Files, _changed: tuple[float, ...]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=files.ca or None)
    except OSError as error:
        raise _unreadable("sslrootcert", files.ca, error) from error
    if files.certificate:
        try:
            context.load_cert_chain(files.certificate, files.key or None, password="")
        except OSError as error:
            raise _unreadable("sslcert or sslkey", files.certificate, error) from error
    return context


def explain(error: OSError, url: RedisUrl) -> str:
    """Why there is no connection, and what to do where TLS is why."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        return f"its certificate is not believed, {why}: {_NAMED if _MISMATCH in why else _BELIEVED}"
    if isinstance(error, ssl.SSLError):
        return f"there is no TLS with it, {error.reason or error}: write redis:// if it has none"
    if error.strerror:
        return f"it does not answer: {error.strerror}"
    if isinstance(error, TimeoutError):
        return f"it does not answer: no connection in time{'; write redis:// if it has no TLS' if url.tls else ''}"
    if url.tls:
        return f"it closes the connection, perhaps for lack of a certificate of ours: {_OURS}"
    return "it closes the connection: write rediss:// if it wants TLS"


def _changed_at(path: str) -> float:
    """0 = it is not there, or none is wanted."""
    try:
        return Path(path).stat().st_mtime if path else 0.0
    except OSError:
        return 0.0


def _unreadable(what: str, path: str, error: OSError) -> SharedRefused:
    return SharedRefused(
        "what the nodes share cannot be asked with TLS",
        detail=f"{what} in `shared`, {path}: {error.strerror or 'it is none, or they do not belong together'}",
        retry_after_s=1.0,
    )
