"""``python -m penstock.cli.alive [PORT]``: whether the gateway in this container lives, for its HEALTHCHECK.

Not a command: it reads no config, needs no shell and imports nothing of the gateway, so it costs little every few
seconds. Exit code 0 when ``/healthz`` on the admin plane says so, else 1.
"""

import sys
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from typing import Final

ADMIN_PORT: Final = 8788
_TIMEOUT_S: Final = 4.0
_OK: Final = 200


def is_alive(port: int) -> bool:
    """Whether something on this machine answers there that it lives."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == _OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def main(arguments: Sequence[str]) -> int:
    """The exit code. ``arguments``: the port, if it is not 8788."""
    port = int(arguments[0]) if arguments else ADMIN_PORT
    return 0 if is_alive(port) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
