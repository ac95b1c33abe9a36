"""Why a start is refused that the config alone cannot refuse: open mode never leaves this machine."""

from penstock.config.settings import Settings
from penstock.config.units import is_loopback


def refusals_at_start(settings: Settings, live_keys: int) -> list[str]:
    """Sentences; none = start. ``live_keys``: keys in the store that are neither revoked nor expired."""
    server = settings.server
    refusals = []
    if not is_loopback(server.listen) and not live_keys and not settings.keys:
        refusals.append(
            f"server.listen: {server.listen} is reachable from other machines and there is no key yet; "
            "create one with `penstock keys create NAME`, or listen on 127.0.0.1"
        )
    for name, address in (("listen", server.listen), ("admin_listen", server.admin_listen)):
        if not is_loopback(address) and server.admin_token is None:
            refusals.append(
                f"server.{name}: {address} is reachable from other machines and server.admin_token is not set; "
                "set PENSTOCK_ADMIN_TOKEN, or listen on 127.0.0.1"
            )
    return refusals
