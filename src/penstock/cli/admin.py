"""The admin API of a running server, for commands that write (what it changes, it knows at once) or watch it."""

from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Final

import click
import msgspec

from penstock.cli.bad_input import BadInput
from penstock.config.settings import Settings

_TIMEOUT_S: Final = 10.0
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what to call it by, not to listen on
_OK: Final = range(200, 300)
_UNAUTHORIZED: Final = 401
_BAD_INPUT: Final = (400, 413, 422)
"""It is the order itself that is wrong; what is forbidden, not there or out of order has failed."""


class NoServer(Exception):
    """Nobody listens on the admin address."""


class NoToken(click.ClickException):
    """The server wants a token, and these settings have none to give."""


class AdminClient:
    """Asks the server of these settings."""

    def __init__(self, settings: Settings, timeout_s: float = _TIMEOUT_S) -> None:
        """``timeout_s``: how long it may be silent."""
        address = settings.server.admin_listen
        self._host, self._port = _WILDCARDS.get(address.host, address.host), address.port
        self._token = settings.server.admin_token
        self._timeout_s = timeout_s

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The server's JSON answer. Raises NoServer, NoToken; BadInput for an order that is wrong.

        Raises ClickException when it refuses for another reason, or is no Penstock.
        """
        connection = HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        try:
            connection.connect()
        except OSError as error:
            raise NoServer(str(error)) from error
        try:
            connection.request(method, path, None if method == "GET" else msgspec.json.encode(body), self._headers())
            return self._answer(connection.getresponse())
        except (OSError, HTTPException) as error:
            raise click.ClickException(f"the server at {self._host}:{self._port} did not answer: {error}") from error
        finally:
            connection.close()

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token.reveal()}"
        return headers

    def _answer(self, response: HTTPResponse) -> Any:
        raw = response.read()
        try:
            answer = msgspec.json.decode(raw or b"null")
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = None
        if response.status in _OK and (answer is not None or not raw):
            return answer
        if response.status == _UNAUTHORIZED and self._token is None:
            raise NoToken(
                f"the server at {self._host}:{self._port} takes this from nobody without its admin token: set "
                "server.admin_token (or PENSTOCK_ADMIN_TOKEN) for the server and for this command"
            )
        what = f"the server at {self._host}:{self._port} refused ({response.status}): {_reason(answer)}"
        raise BadInput(what) if response.status in _BAD_INPUT else click.ClickException(what)


def _reason(answer: Any) -> str:
    """The message of an error in the OpenAI shape."""
    error = answer.get("error") if isinstance(answer, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return str(message or "it does not say why; is it a Penstock?")
