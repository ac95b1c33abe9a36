"""Why a start or a reload is refused that the config alone cannot refuse.

Open mode never leaves this machine; a gateway with providers does not become a simulation behind its clients' back.
"""

from penstock.config.fixed import in_force
from penstock.config.load import BUILT_IN
from penstock.config.settings import Settings
from penstock.config.units import is_loopback

_SHARED_STORES = frozenset({"postgresql", "postgres"})


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


def refusals_of_workers(settings: Settings) -> list[str]:
    """Why several processes may not serve by these; none = they may. Each would hold the budgets for itself alone."""
    scheme = settings.store.partition(":")[0]
    refusals = []
    if scheme not in _SHARED_STORES:
        refusals.append(
            f"store: --workers needs a store that several processes may write, and {scheme} has one writer; "
            "set `store: postgresql://...`, or serve with one process"
        )
    if settings.shared is None:
        refusals.append(
            "shared: --workers needs `shared: redis://...`, by which processes hold budgets and rates together; "
            "set it, or serve with one process"
        )
    return refusals


def refusals_at_reload(running: Settings, wanted: Settings, live_keys: int) -> list[str]:
    """Sentences; none = serve by ``wanted`` from now on. What is judged is what would then hold."""
    refusals = []
    if wanted.currency != running.currency:
        refusals.append("currency: the ledger is kept in the book currency; it cannot change while it runs")
    if wanted.source == BUILT_IN and running.source != BUILT_IN:
        refusals.append(
            f"{running.source} is gone, and the built-in settings would replace it; "
            "restore the file, or restart to serve without one"
        )
    elif wanted.simulated and not running.simulated:
        refusals.append(
            f"providers: {wanted.source} names none any more, and simulated answers would be served in their place; "
            "restore them, or restart to serve the simulation"
        )
    return refusals + refusals_at_start(in_force(running, wanted), live_keys)
