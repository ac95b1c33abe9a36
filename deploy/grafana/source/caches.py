"""What caches save: ours, and the provider's."""

from deploy.grafana.source.board import MODEL as CHOOSE_MODEL
from deploy.grafana.source.board import Board
from deploy.grafana.source.panel import AnyPanel, figure, graph
from deploy.grafana.source.query import JOB, MODEL, Query, in_range, or_zero, rate, share
from deploy.grafana.source.repeated import saved_by_lever
from deploy.grafana.source.unit import BYTES, COUNT, MONEY, RATIO, REQUESTS, TOKENS_PER_S


def caches() -> Board:
    """Hit ratios, what is held, and what a broken prefix costs."""
    return Board(
        "penstock-caches",
        "Penstock: Caches",
        "The exact cache, joined questions and the provider's own cache of prefixes: hits, sizes, money.",
        (CHOOSE_MODEL,),
        (("Now", _figures()), ("Our caches", _ours()), ("The provider's cache of prefixes", _prefixes())),
    )


def _figures() -> tuple[AnyPanel, ...]:
    hits = or_zero(in_range("penstock_tokens_total", f'{MODEL},kind="input_hit"'))
    prompt = in_range("penstock_tokens_total", f'{MODEL},kind!="output"')
    return (
        figure(
            "Exact cache hit ratio",
            "Of the requests that asked it, in the last hour.",
            RATIO,
            Query(f'min(penstock:cache_hit_ratio:rate1h{{{JOB},cache="exact"}})', "hits"),
            span=6,
        ),
        figure(
            "Prefix hit ratio",
            "Of the prompt tokens that were billed in the time shown: billed as a hit.",
            RATIO,
            Query(share(hits, prompt), "hits"),
            span=6,
        ),
        figure(
            "Saved by caches",
            "In the time shown, by all levers.",
            MONEY,
            Query(or_zero(in_range("penstock_saved_total", JOB, "currency")), "{{currency}}"),
            span=6,
        ),
        figure(
            "Held in memory",
            "By all nodes.",
            BYTES,
            Query(f"sum(penstock_cache_bytes{{{JOB}}})", "held"),
            span=6,
        ),
    )


def _ours() -> tuple[AnyPanel, ...]:
    return (
        graph(
            "Hit ratio",
            "`exact`: of the requests that asked it. `join`: of those that it missed, found under way.",
            RATIO,
            Query(f"penstock:cache_hit_ratio:rate5m{{{JOB}}}", "{{cache}} {{job}}"),
        ),
        graph(
            "Hit ratio against the past day",
            "The last hour, and the median of the day before. PenstockCacheHitRatioCollapsed fires below half of it.",
            RATIO,
            Query(f"penstock:cache_hit_ratio:rate1h{{{JOB}}}", "{{cache}} {{job}}"),
            Query(f"penstock:cache_hit_ratio:past_day{{{JOB}}}", "{{cache}} {{job}} past day"),
        ),
        graph(
            "Lookups",
            "Questions to each cache, and their results.",
            REQUESTS,
            Query(rate("penstock_cache_lookups_total", JOB, "cache, result"), "{{cache}} {{result}}"),
            span=8,
            stacked=True,
        ),
        saved_by_lever(span=8),
        graph(
            "Answers held",
            "In memory, by all nodes.",
            COUNT,
            Query(f"sum by (cache) (penstock_cache_entries{{{JOB}}})", "{{cache}}"),
            span=4,
        ),
        graph(
            "Bytes held",
            "In memory, by all nodes.",
            BYTES,
            Query(f"sum by (cache) (penstock_cache_bytes{{{JOB}}})", "{{cache}}"),
            span=4,
        ),
    )


def _prefixes() -> tuple[AnyPanel, ...]:
    return (
        graph(
            "Prefix hit ratio, by model",
            "Of the prompt tokens: billed as a hit. It falls when something at the start of prompts changes.",
            RATIO,
            Query(f"penstock:prefix_hit_ratio:rate5m{{{MODEL}}}", "{{model}}"),
        ),
        graph(
            "Prefix hit ratio against the past day",
            "The last hour, and the median of the day before. PenstockPrefixHitRatioCollapsed fires below half of it.",
            RATIO,
            Query(f"penstock:prefix_hit_ratio:rate1h{{{MODEL}}}", "{{model}}"),
            Query(f"penstock:prefix_hit_ratio:past_day{{{MODEL}}}", "{{model}} past day"),
        ),
        graph(
            "Prompt tokens, by kind",
            "A hit costs a fraction of a miss.",
            TOKENS_PER_S,
            Query(rate("penstock_tokens_total", f'{MODEL},kind!="output"', "kind"), "{{kind}}"),
            span=8,
            stacked=True,
        ),
        graph(
            "Lost per hour by broken prefixes",
            "Tokens of the last hour that were hits on the past day and are not now, at the price of missing them.",
            MONEY,
            Query(
                f"sum by (model, currency) (penstock:prefix_hits_lost:cost_per_hour{{{MODEL}}})",
                "{{model}} {{currency}}",
            ),
            span=8,
        ),
        graph(
            "What a hit is worth",
            "A million prompt tokens cost this much less when the provider has them in its cache.",
            MONEY,
            Query(
                f"max by (model, currency) (penstock_prefix_hit_value_per_mtok{{{MODEL}}})", "{{model}} {{currency}}"
            ),
            span=8,
        ),
    )
