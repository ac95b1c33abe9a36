"""What the admin plane is asked and answers with: JSON documents and query parameters. Raises BadRequest."""

from collections.abc import Collection, Mapping
from typing import Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from penstock.errors import BadRequest, BodyTooLarge

MAX_BODY_BYTES: Final = 64 * 1024

_Form = TypeVar("_Form")


def document(content: object, status: int = 200) -> Response:
    """The answer that says ``content``."""
    return Response(msgspec.json.encode(content), status, {"cache-control": "no-store"}, "application/json")


async def read_document(request: Request, form: type[_Form]) -> _Form:
    """The request's body. Raises BodyTooLarge, BadRequest."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes")
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not what this takes: {error}") from None


def check_parameters(parameters: Mapping[str, str], known: Collection[str]) -> None:
    """Raises BadRequest for one that is not known: a misspelt filter must not pass for none."""
    for name in parameters:
        if name not in known:
            raise BadRequest(f"there is no parameter {name[:64]!r}: use {', '.join(known)}")
