"""Errors on their way to another node: what a follower may be told of its leader's end.

What a leader was refused for reasons of its own (its budget, its client, its key) is no matter of those who followed:
they hear that it left.
"""

from collections.abc import Iterator
from typing import Final, TypeVar

import msgspec

from penstock.errors import ClientGone, GatewayError, Origin, PenstockError, UpstreamError

Kind = TypeVar("Kind")
_MOST_BYTES: Final = 64 * 1024


class SharedError(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error in packed form. Never its detail, which is for the operator of the leader."""

    name: str
    public: str
    retry_after_s: float | None = None
    param: str | None = None
    status: int | None = None
    body: bytes = b""
    said: str = ""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(SharedError).decode


def pack_error(error: PenstockError) -> bytes:
    """What another node may know of it."""
    if error.origin is Origin.CLIENT:
        return _encode(SharedError(ClientGone.__name__, "the request this one was joined to was given up: try again"))
    packed = SharedError(type(error).__name__, error.public, error.retry_after_s, error.param)
    if isinstance(error, UpstreamError):
        packed = msgspec.structs.replace(packed, status=error.status, body=error.body[:_MOST_BYTES], said=error.said)
    return _encode(packed)


def unpack_error(packed: bytes) -> PenstockError:
    """The error, of its class where this node knows it and it may be shared."""
    try:
        told = _decode(packed)
    except msgspec.MsgspecError:
        return UpstreamError("what this request was joined to has failed: try again")
    if told.name == ClientGone.__name__:
        return ClientGone(told.public)
    for kind in _kinds(GatewayError):
        if kind.__name__ == told.name:
            return kind(told.public, retry_after_s=told.retry_after_s, param=told.param)
    kinds = {kind.__name__: kind for kind in _kinds(UpstreamError)}
    error = kinds.get(told.name, UpstreamError)(
        told.public, status=told.status, body=told.body, retry_after_s=told.retry_after_s, param=told.param
    )
    error.said = told.said
    return error


def _kinds(base: type[Kind]) -> Iterator[type[Kind]]:
    yield base
    for each in base.__subclasses__():
        yield from _kinds(each)
