"""The supervisor that started us, told by systemd's protocol (sd_notify(3)) which process serves. Fails open."""

import logging
import os
import socket

log = logging.getLogger(__name__)


class Supervisor:
    """Whoever listens on a datagram socket; nobody, without an address."""

    def __init__(self, address: str | None) -> None:
        """``address``: a path, or an abstract name after ``@``."""
        self._address = address

    def serving(self) -> None:
        """This process is the one to watch from now on, and it is ready."""
        self._tell(f"MAINPID={os.getpid()}\nREADY=1\n")

    def stopping(self) -> None:
        """The service ends."""
        self._tell("STOPPING=1\n")

    def _tell(self, what: str) -> None:
        if not self._address:
            return
        name = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.sendto(what.encode("ascii"), name)
        except OSError as error:
            log.warning("the supervisor cannot be told", extra={"why": str(error)})
