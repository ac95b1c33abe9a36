"""When a start is refused for being open to others."""

from dataclasses import replace

import pytest

from penstock.config.refusals import refusals_at_start
from penstock.config.settings import Address, Secret, StaticKey
from tests.support.configs import built_in

OUTSIDE = Address("0.0.0.0", 8787)  # noqa: S104 - no socket is bound
INSIDE = Address("127.0.0.1", 8788)
STATIC = StaticKey("dev", "0" * 64, "", (), None, None, None)


@pytest.mark.parametrize(
    ("listen", "admin_listen", "token", "static", "live", "refused"),
    [
        (INSIDE, INSIDE, None, False, 0, []),
        (INSIDE, INSIDE, None, False, 5, []),
        (OUTSIDE, INSIDE, "t", False, 1, []),
        (OUTSIDE, INSIDE, "t", True, 0, []),
        (OUTSIDE, INSIDE, "t", False, 0, ["no key yet"]),
        (OUTSIDE, INSIDE, None, False, 1, ["server.listen"]),
        (OUTSIDE, OUTSIDE, None, False, 0, ["no key yet", "server.listen", "server.admin_listen"]),
        (INSIDE, OUTSIDE, "t", False, 0, []),
        (INSIDE, OUTSIDE, None, False, 1, ["server.admin_listen"]),
    ],
)
def test_off_loopback_there_must_be_keys_and_a_token(
    listen: Address, admin_listen: Address, token: str | None, *, static: bool, live: int, refused: list[str]
) -> None:
    """Open mode never leaves this machine."""
    settings = built_in()
    server = replace(
        settings.server, listen=listen, admin_listen=admin_listen, admin_token=Secret(token) if token else None
    )
    settings = replace(settings, server=server, keys=(STATIC,) if static else ())
    found = refusals_at_start(settings, live)
    assert len(found) == len(refused)
    assert all(part in sentence for part, sentence in zip(refused, found, strict=True))
