"""What is read at the scrape."""

from penstock.server.gauges import watch
from tests.support.metrics_text import samples
from tests.support.small_gateway import small_gateway, small_settings


async def test_what_waits_on_the_disk_is_told_where_it_can() -> None:
    """No series where the ledger needs no spool."""
    gateway = await small_gateway(small_settings("a-token"))
    watch(gateway)
    assert ("penstock_ledger_spooled_bytes", ()) not in samples((await gateway.metrics.scrape()).decode())
    gateway.stores.spooled_bytes = lambda: 17
    watch(gateway)
    assert samples((await gateway.metrics.scrape()).decode())["penstock_ledger_spooled_bytes", ()] == 17
    await gateway.close()
