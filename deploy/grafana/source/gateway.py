"""Penstock itself: its own time, its lines, its ledger, its processes."""

from deploy.grafana.source.board import NODE, Board
from deploy.grafana.source.limit import CAPACITY, LOST, OVERHEAD, QUEUE, SPOOLED, UNWRITTEN
from deploy.grafana.source.panel import AnyPanel, bars, graph, spread, states
from deploy.grafana.source.query import INSTANCE, Query, in_range, or_zero, quantile, quantiles, rate, share
from deploy.grafana.source.repeated import shed
from deploy.grafana.source.unit import BYTES, COUNT, RATIO, REQUESTS, SECONDS

_OVERHEAD = "penstock_overhead_seconds"


def gateway() -> Board:
    """Node by node."""
    return Board(
        "penstock-gateway",
        "Penstock: Gateway internals",
        "Node by node: its own time and its lines, capacity, the ledger's writes, CPU, memory, files, scrapes.",
        (NODE,),
        (
            ("Own time", _overhead()),
            ("Load", _load()),
            ("Ledger", _ledger()),
            ("Process", _process()),
            ("Scrapes", _scrapes()),
        ),
    )


def _overhead() -> tuple[AnyPanel, ...]:
    return (
        graph(
            "Own time",
            "Work, and waiting for a slot of ours; neither the provider nor the line for a full deployment. "
            "More nodes help where it is long.",
            SECONDS,
            *quantiles(_OVERHEAD, INSTANCE),
            span=8,
            limits=OVERHEAD,
        ),
        graph(
            "P95 of its own time, by node",
            "Above 0.5 s for 10 minutes: scale out.",
            SECONDS,
            Query(quantile(0.95, _OVERHEAD, INSTANCE, "instance"), "{{instance}}", exemplars=True),
            span=8,
            limits=OVERHEAD,
        ),
        spread("Own times", "How many requests spent how long in the gateway itself.", _OVERHEAD, INSTANCE, span=8),
    )


def _load() -> tuple[AnyPanel, ...]:
    return (
        graph(
            "Requests, by node",
            "Requests that ended, refused ones included.",
            REQUESTS,
            Query(rate("penstock_requests_total", INSTANCE, "instance"), "{{instance}}"),
            span=8,
            stacked=True,
        ),
        graph(
            "Capacity used",
            "Requests per second of `limits.capacity` (configured), or of what the node has learned that it bears.",
            RATIO,
            Query(f"penstock:capacity_used:ratio{{{INSTANCE}}}", "{{instance}} {{source}}"),
            span=8,
            limits=CAPACITY,
        ),
        graph(
            "Capacity",
            "Requests per second: as configured, and as learned.",
            REQUESTS,
            Query(f"penstock_capacity_requests_per_second{{{INSTANCE}}}", "{{instance}} {{source}}"),
            span=8,
        ),
        graph(
            "Under way",
            "With what may be served at once; waiting ones are under way too.",
            COUNT,
            Query(f"penstock_active_requests{{{INSTANCE}}}", "{{instance}}"),
            Query(f"penstock_concurrency_limit{{{INSTANCE}}}", "{{instance}} at once"),
            span=8,
        ),
        graph(
            "Waiting",
            "For a slot of the gateway, or for a deployment that has all the calls it can serve.",
            COUNT,
            Query(f"penstock_queue_depth{{{INSTANCE}}}", "{{instance}}"),
            span=8,
            limits=QUEUE,
        ),
        shed(INSTANCE),
    )


def _ledger() -> tuple[AnyPanel, ...]:
    return (
        states(
            "Ledger written",
            "Out: its last write failed; rows wait and are tried again.",
            Query(f"min by (instance) (penstock_ledger_healthy{{{INSTANCE}}})", "{{instance}}"),
            span=6,
        ),
        graph(
            "Oldest row that waits",
            "0 while none waits. Above a minute somebody is woken.",
            SECONDS,
            Query(f"penstock_ledger_oldest_unwritten_seconds{{{INSTANCE}}}", "{{instance}}"),
            span=6,
            limits=UNWRITTEN,
        ),
        graph(
            "Waiting on disk",
            "Rows for PostgreSQL while it is away. At 256 MiB requests are refused.",
            BYTES,
            Query(f"penstock_ledger_spooled_bytes{{{INSTANCE}}}", "{{instance}}"),
            span=6,
            limits=SPOOLED,
        ),
        bars(
            "Rows given up",
            "In the time shown. Each is in the log, whole, as `ledger_row_lost`; anything but 0 is an incident.",
            COUNT,
            Query(or_zero(in_range("penstock_ledger_rows_lost_total", INSTANCE)), "rows"),
            span=6,
            limits=LOST,
        ),
    )


def _process() -> tuple[AnyPanel, ...]:
    cpu = rate("process_cpu_seconds_total", INSTANCE, "instance")
    requests = rate("penstock_requests_total", INSTANCE, "instance")
    return (
        graph(
            "CPU",
            "Cores in use. One process uses one at the most.",
            COUNT,
            Query(cpu, "{{instance}}"),
            span=8,
        ),
        graph(
            "CPU per request",
            "Of all that the process does; nothing while there are no requests.",
            SECONDS,
            Query(share(cpu, requests), "{{instance}}"),
            span=8,
        ),
        graph(
            "Memory",
            "Resident.",
            BYTES,
            Query(f"process_resident_memory_bytes{{{INSTANCE}}}", "{{instance}}"),
            span=8,
        ),
        graph(
            "Open files and sockets",
            "Of those that it may have.",
            RATIO,
            Query(
                share(f"process_open_fds{{{INSTANCE}}}", f"process_max_fds{{{INSTANCE}}}"),
                "{{instance}}",
            ),
            span=8,
        ),
        graph(
            "Up since",
            "Age of the process: it falls where one was started anew.",
            SECONDS,
            Query(f"time() - process_start_time_seconds{{{INSTANCE}}}", "{{instance}}"),
            span=8,
        ),
        graph(
            "Nodes, by version",
            "What runs where; two versions during an upgrade.",
            COUNT,
            Query(f"count by (version, python) (penstock_build_info{{{INSTANCE}}})", "{{version}}, Python {{python}}"),
            span=8,
        ),
    )


def _scrapes() -> tuple[AnyPanel, ...]:
    return (
        states(
            "Scraped",
            "Out: Prometheus does not reach its admin plane.",
            Query(f"min by (instance) (up{{{INSTANCE}}})", "{{instance}}"),
            span=8,
        ),
        graph(
            "How long a scrape takes",
            "A scrape is made in pieces, so that requests go on meanwhile.",
            SECONDS,
            Query(f"scrape_duration_seconds{{{INSTANCE}}}", "{{instance}}"),
            span=8,
        ),
        graph(
            "Series",
            "Per node. Fewer than 15,000 with 50 models of 10 deployments each, whatever clients send.",
            COUNT,
            Query(f"scrape_samples_post_metric_relabeling{{{INSTANCE}}}", "{{instance}}"),
            span=8,
        ),
    )
