"""The file: every setting, its type, its default, its meaning. ``docs/reference/config.md`` is generated from here.

What one setting cannot know about another is checked in ``checks.py``.
"""

from decimal import Decimal
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, ModelWrapValidatorHandler, PrivateAttr, model_validator

from penstock.config.document import Map, Path, Scalar
from penstock.config.fields import (
    Allowance,
    BaseUrl,
    Boolean,
    BotName,
    BotUrl,
    BudgetName,
    Choice,
    Count,
    Credential,
    Currency,
    CurrencyName,
    Digest,
    Duration,
    EntryName,
    Fraction,
    HeaderName,
    HeaderValue,
    KeyName,
    Label,
    ListenAddress,
    MinuteOfDay,
    ModelName,
    Network,
    NetworkName,
    Origin,
    Parsed,
    Patience,
    Price,
    ProviderName,
    ProxyUrl,
    Rate,
    RequestFields,
    Share,
    SharedUrl,
    Size,
    Store,
    Tag,
    Text,
    Whole,
    Zone,
    is_off,
    is_on,
    wrong,
)
from penstock.config.kinds import DIALECTS
from penstock.config.settings import Address
from penstock.core.budget import SCOPES
from penstock.core.windows import WINDOWS
from penstock.wire.bots import BOTS

DEFAULT_FX = {"USD": Decimal("7.10")}
"""For the default book currency, CNY."""


class Section(BaseModel):
    """A mapping of settings. A null counts as absent."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    _at: Path = PrivateAttr(default=())

    @property
    def place(self) -> Path:
        """Where it stands in the file."""
        return self._at

    @classmethod
    def known(cls) -> tuple[str, ...]:
        """The names of its settings."""
        return tuple(cls.model_fields)

    @model_validator(mode="wrap")
    @classmethod
    def _remember(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if data is not None and not isinstance(data, dict):
            raise wrong("must be a mapping of settings, such as {name: value}")
        given: dict[str, Any] = data or {}
        section = handler(
            {name: value for name, value in given.items() if value is not None or name not in cls.known()}
        )
        if isinstance(data, Map):
            section._at = data.path  # noqa: SLF001 - its own, in a constructor
        return section


def _pointed(value: object) -> object:
    """An address alone is all that has to be said."""
    if not isinstance(value, Scalar):
        return value
    section = Map(value.path)
    section["url"] = value
    return section


def _switched(value: object) -> object:
    """``off`` is a time to live of nothing."""
    if not isinstance(value, Scalar):
        return value
    section = Map(value.path)
    if is_off(value):
        section["ttl"] = Scalar("0s", value.path, plain=True)
    elif not is_on(value):
        raise wrong("must be off, or a mapping such as {ttl: 10m}")
    return section


SyncMode = Annotated[str, Parsed("`normal` or `full`", Choice(("normal", "full")))]
FailureMode = Annotated[str, Parsed("`refuse` or `answer`", Choice(("refuse", "answer")))]
Dialect = Annotated[str, Parsed("`chat`, `completions`, `embeddings` or `messages`", Choice(DIALECTS))]
AfterDisconnect = Annotated[str, Parsed("`completes` or `stops`", Choice(("completes", "stops")))]
BilledAt = Annotated[str, Parsed("`completion` or `start`", Choice(("completion", "start")))]
CacheShare = Annotated[str, Parsed("`key`, `team` or `all`", Choice(("key", "team", "all")))]
Scope = Annotated[str, Parsed("`global`, `team`, `key`, `user`, `model` or `tag`", Choice(SCOPES))]
Window = Annotated[str, Parsed("`hour`, `day`, `week`, `month` or `total`", Choice(WINDOWS))]
Unlisted = Annotated[str, Parsed("`default` or `deny`", Choice(("default", "deny")))]
Bound = Annotated[str, Parsed("`bytes` or `calibrated`", Choice(("bytes", "calibrated")))]
BALANCES = ("round_robin", "weighted", "least_busy", "ip_hash", "prefix", "latency")
Balance = Annotated[
    str,
    Parsed("`round_robin`, `weighted`, `least_busy`, `ip_hash`, `prefix` or `latency`", Choice(BALANCES)),
]
BotKind = Annotated[str, Parsed("`dingtalk`, `feishu` or `wecom`", Choice(BOTS))]
HashBy = Annotated[str, Parsed("`address`, `key` or `session`", Choice(("address", "key", "session")))]
RegionOrder = Annotated[
    str, Parsed("`any`, `caller`, `fixed` or `latency`", Choice(("any", "caller", "fixed", "latency")))
]


class ServerSection(Section):
    """Where Penstock listens and who may administer it."""

    listen: ListenAddress = Address("127.0.0.1", 8787)
    """The data plane, for clients."""
    admin_listen: ListenAddress = Address("127.0.0.1", 8788)
    """The admin plane: metrics, health, `/admin`."""
    admin_token: Credential | None = None
    """What `/admin` asks for. Absent: `PENSTOCK_ADMIN_TOKEN`, if set. Needed off loopback."""
    secret: Credential | None = None
    """The pepper of stored keys. Absent: `PENSTOCK_SECRET`, if set, else a file beside the store."""
    keys_stale: Patience = 3600.0
    """How long keys of the store are believed that it could not be asked for; it is asked each second."""
    drain: Duration = 30.0
    """How long running requests may go on after SIGTERM."""
    trusted_proxies: tuple[Network, ...] = ()
    """Whose `X-Forwarded-For` is believed."""
    cors: tuple[Origin, ...] = ()
    """Browser origins that may call the data plane; `*` = every one."""
    edges: tuple[Text, ...] = ()
    """Names of keys whose holders are edges: Penstocks that are believed when they say for which tenant they ask."""


class LedgerSection(Section):
    """How surely the ledger is written."""

    sync: SyncMode = "normal"
    """`full` survives power loss too, and is slower."""
    on_failure: FailureMode = "refuse"
    """What becomes of requests while the ledger cannot be written."""
    retention: Patience | None = None
    """PostgreSQL: months that ended longer ago are dropped when they are summed up; sums stay. Absent: none are."""
    spool: Label | None = None
    """PostgreSQL: the directory where rows wait while it is away. Absent: that of the config file."""


class SimulationSection(Section):
    """How a simulated provider does (`kind: sim`). Reload it sick, and see what happens, and who is told."""

    speed: Rate = Decimal(1)
    """How many times quicker than life it answers: `0.1` = ten times as slowly."""
    busy: Share = 0.01
    """The share of its calls that it answers with 503 or 429."""
    failing: Share = 0.0
    """The share of its calls that it answers with 500."""


class PricesSection(Section):
    """Prices of your own, per million tokens; they replace the price book's."""

    input: Price
    """Input that was no cache hit."""
    cached_input: Price
    """Input read from the provider's cache."""
    output: Price
    """Output, reasoning included."""
    cache_write: Price | None = None
    """Input written to the provider's cache. Absent: as `input`."""
    currency: Currency | None = None
    """Absent: the book currency."""


class AccountSection(Section):
    """The balance of its account, asked for again and again: metrics and alerts are made of it."""

    every: Patience = 600.0
    """How often it is asked for. That costs nothing."""
    low: Price | None = None
    """From where on it is little, in the provider's `currency`. Absent: nobody is told."""


class ProviderSection(Section):
    """One API with one base URL and one set of credentials."""

    kind: Text
    """Which row of defaults it starts from: `deepseek`, `openai` (any compatible URL), ..."""
    api_key: Credential | None = None
    """Absent, and no URL of your own given: the kind's environment variable, such as `DEEPSEEK_API_KEY`."""
    base_url: BaseUrl | None = None
    """Up to, not including, `/chat/completions`. It replaces the kind's URLs for chat, completions and embeddings."""
    messages_url: BaseUrl | None = None
    """Up to, not including, `/messages` (the Anthropic dialect)."""
    dialects: tuple[Dialect, ...] | None = None
    """What it speaks. Absent: what the kind speaks."""
    prices: PricesSection | None = None
    """Absent: the price book's."""
    price_book: Label | None = None
    """The price file its models are looked up in. Absent: the kind's."""
    currency: Currency | None = None
    """Which of the price book's price lists it is billed by. Absent: the kind's."""
    private: Boolean | None = None
    """Whether data sent there stays with you: what is `sensitive` goes nowhere else. Absent: as the kind says."""
    after_disconnect: AfterDisconnect | None = None
    """What it does with a call whose connection is closed. Absent: as the kind says."""
    billed_at: BilledAt | None = None
    """The instant that decides the tariff. Absent: as the kind says."""
    concurrency: Count | None = None
    """Calls at once that its account allows per model; its 429s teach more. Absent: as the kind says."""
    probe: Duration = 0.0
    """How often it is asked for its model list while it is out; `0s` = real requests alone find out."""
    balance: AccountSection | None = None
    """For kinds that tell what the account holds: `deepseek`. Absent: it is not asked."""
    sync: Duration | None = None
    """How often answers that changed at a centre (`kind: penstock`) are pulled. Absent: `5m`; `0s` = never."""
    proxy: ProxyUrl | None = None
    """The `http://` proxy to reach it through."""
    ca_file: Label | None = None
    """A PEM file of authorities to trust instead of the system's."""
    headers: dict[HeaderName, HeaderValue] = {}
    """Sent with every call."""
    simulate: SimulationSection | None = None
    """For `kind: sim`."""


class DeploymentSection(Section):
    """A model as served at one provider."""

    provider: Text
    """The name of an entry of `providers`."""
    model: Text | None = None
    """The provider's name for it. Absent: the model's own name."""
    weight: Whole = 1
    """Its share of the requests, against the others' weights; 0 = only when the others fail."""
    region: Label = ""
    """Where it runs, for the ledger and for `regions`."""
    priority: Whole = 0
    """Those with a higher number are asked only while all with a lower one are out."""


class ExactSection(Section):
    """An override of the exact cache: `off`, or its settings."""

    ttl: Duration | None = None
    """How long an answer may be served again."""


class ExactCacheSection(Section):
    """The exact cache: `off`, or its settings."""

    ttl: Duration = 3600.0
    """How long an answer may be served again."""
    max_bytes: Size = 256 * 1024 * 1024
    """The memory it may hold; what was used longest ago goes first."""
    stale: Duration = 0.0
    """How long past its time an answer is kept, for `stale_on_error` and the `ladder` of budgets; `0s` = not at all."""
    stale_on_error: Boolean = False
    """Whether such an answer is served, marked, where no provider answers."""


Exact = Annotated[ExactSection, BeforeValidator(_switched)]
ExactCache = Annotated[ExactCacheSection, BeforeValidator(_switched)]


class SharedSection(Section):
    """Redis or Valkey, which lends the nodes their parts of budgets and rates, and holds answers and flights."""

    url: SharedUrl
    """`redis://HOST:PORT/DB`, `rediss://...`, `redis+cluster://HOST,HOST`. What it holds can be made again."""
    slice: Share = 0.01
    """Of a limit, how much a node is lent beyond what it needs at once."""
    on_failure: FailureMode = "refuse"
    """While nobody lends: `refuse` what there is no room for, or `answer`: overspend by a slice, count rates alone."""
    keys: dict[KeyName, FailureMode] = {}
    """The same for single keys, by their names."""


Shared = Annotated[SharedSection, BeforeValidator(_pointed)]


class ModelCacheSection(Section):
    """The caches of one model."""

    exact: Exact | None = None
    """Absent: as `cache.exact` says."""


class CacheSection(Section):
    """Answers that are served again."""

    exact: ExactCache = ExactCacheSection()
    """The same request again."""
    join: Boolean = True
    """Identical requests in flight share one upstream call."""
    share: CacheShare = "key"
    """Who shares stored answers."""
    by_key: dict[KeyName, Exact] = {}
    """The exact cache for requests of a key, by its name."""
    by_tag: dict[Tag, Exact] = {}
    """The exact cache for requests with a tag, as `tag=value`."""


class TimeoutsOverrideSection(Section):
    """Deadlines of one model; those absent are as `timeouts` says."""

    connect: Patience | None = None
    """To a connection."""
    first_byte: Patience | None = None
    """From dispatch to the first data event; keep-alives do not count."""
    between: Patience | None = None
    """Between two data events."""
    total: Patience | None = None
    """Over all attempts."""


class TimeoutsSection(Section):
    """Deadlines."""

    connect: Patience = 5.0
    """To a connection."""
    first_byte: Patience = 120.0
    """From dispatch to the first data event; keep-alives do not count."""
    between: Patience = 60.0
    """Between two data events."""
    total: Patience = 900.0
    """Over all attempts."""


class ModelSection(Section):
    """The public name a client asks for."""

    deployments: tuple[DeploymentSection, ...]
    """Where it is served."""
    balance: Balance = "weighted"
    """How requests are spread over the deployments."""
    hash_by: HashBy = "address"
    """What `ip_hash` goes by: the client's address, its key, or its session (`x-penstock-session`, else `user`)."""
    regions: RegionOrder = "any"
    """Which come first: `any` = no matter, the `caller`'s own, `fixed` = as listed, `latency` = the quickest."""
    hedge: Boolean = False
    """Ask a second deployment when the first takes longer than usual to begin; who begins first answers."""
    baseline: Text | None = None
    """The deployment, as `provider/model`, that savings are measured against. Absent: the first."""
    default_output: Count = 8192
    """The output cap of a request that sets none, in tokens, where a hard budget applies to it."""
    stream_upstream: Boolean = False
    """Fetch whole answers as a stream and fold them, so that length alone never times out."""
    cheaper: Text | None = None
    """The model, or alias of another one, that takes its requests when a budget's `ladder` says so."""
    aliases: dict[ModelName, RequestFields] = {}
    """Other names for it, each with the request fields it sets; `{}` = none."""
    cache: ModelCacheSection = ModelCacheSection()
    """Overrides of `cache`."""
    timeouts: TimeoutsOverrideSection = TimeoutsOverrideSection()
    """Overrides of `timeouts`."""


class LadderSection(Section):
    """Steps down before any refusal, each from a fraction of the limit on; those absent are never taken."""

    stale: Fraction | None = None
    """Accept stored answers that are past their time (`cache.exact.stale`)."""
    thinking_off: Fraction | None = None
    """Switch thinking off."""
    cheaper: Fraction | None = None
    """Ask the model's `cheaper` one instead."""
    refuse: Fraction | None = None
    """Refuse already here: 429."""


class BudgetSection(Section):
    """A limit of money or tokens per window. Several may apply to a request: all must admit it."""

    name: BudgetName
    """Its name in commands, metrics and refusals."""
    scope: Scope = "global"
    """What has a limit of its own: each team, key, end user (the request's `user`), model or tag, or all together."""
    limit: Allowance
    """How much may be spent in a window; `0 CNY` or `0 tokens` = nothing. Money is converted to the book by `fx`."""
    window: Window = "month"
    """When it begins anew; `total` = never."""
    timezone: Zone = ZoneInfo("UTC")
    """Whose hours, days, weeks (from Monday) and months."""
    hard: Boolean = True
    """Whether it refuses. A soft one only warns."""
    alerts: tuple[Fraction, ...] = (0.8, 1.0)
    """Fractions of the limit at which the log and a metric say so, once per window."""
    unlisted: Unlisted = "default"
    """For those without an entry: `default` = they have `limit` each, `deny` = they may spend nothing."""
    entries: dict[EntryName, Allowance] = {}
    """Limits of single teams, keys, users, models or tags (`tag=value`), in the unit of `limit`; `""` = none named."""
    ladder: LadderSection = LadderSection()
    """Steps down before any refusal. None by default."""


class RegionsSection(Section):
    """Where callers are, for models that go by it. The header `x-penstock-region` comes before both."""

    keys: dict[KeyName, Label] = {}
    """The region of a key, by its name."""
    networks: dict[NetworkName, Label] = {}
    """The region of a client network; the narrowest counts."""


class SensitiveSection(Section):
    """What may go to `private` providers only; where there is none, it is refused."""

    keys: tuple[KeyName, ...] = ()
    """Requests of these keys, by name."""
    models: tuple[ModelName, ...] = ()
    """Requests for these models."""
    tags: tuple[Tag, ...] = ()
    """Requests with one of these tags, as `tag=value`."""


class LimitsSection(Section):
    """Bounds of the whole gateway."""

    max_body: Size = 8 * 1024 * 1024
    """The largest request body."""
    max_concurrency: Count = 512
    """Requests worked on at once."""
    max_queue: Whole = 1000
    """Requests that wait for their turn; more are refused."""
    queue_wait: Patience = 5.0
    """How long a request waits for its turn before it is refused."""
    capacity: Rate | None = None
    """Requests per second that a node was sized for, its workers together: what the traffic is held against."""
    adaptive: Boolean = True
    """Lower the concurrency while the gateway, or a deployment, answers more slowly than it can."""


class RetrySection(Section):
    """How failed calls are repeated."""

    attempts: Count = 4
    """Calls per request, over all deployments."""
    backoff: Duration = 1.0
    """The first wait before the same deployment is asked again; it doubles."""
    budget: Share = 0.2
    """The share of requests that may be retried."""


class KeySection(Section):
    """A key for development; real ones live in the store (`penstock keys create`)."""

    name: Text
    """Its name in the ledger."""
    key_sha256: Digest
    """SHA-256 of the key, in hex: never the key itself."""
    team: Label = ""
    """The team it spends for."""
    models: tuple[Text, ...] = ()
    """The models it may ask for; empty = all."""
    rpm: Count | None = None
    """Requests per minute."""
    tpm: Count | None = None
    """Tokens per minute."""
    concurrency: Count | None = None
    """Requests at once."""


class BotSection(Section):
    """A bot of a group chat."""

    kind: BotKind
    """Whose chat it is in; `feishu` is Lark too."""
    url: BotUrl
    """Its webhook. Whoever has it can write to the group."""
    secret: Credential | None = None
    """What it signs with, where signing is switched on for it."""


class RelaySection(Section):
    """`penstock alerts relay`: takes what Alertmanager sends, and tells it to bots."""

    listen: ListenAddress = Address("127.0.0.1", 8790)
    """Where Alertmanager finds it: `http://HOST:PORT/alerts/BOT`."""
    token: Credential | None = None
    """What Alertmanager has to show as bearer token. Needed off loopback."""
    bots: dict[BotName, BotSection] = {}
    """The bots, by names of your own."""


class DigestSection(Section):
    """The money of yesterday, told once a day by `penstock alerts relay`."""

    at: MinuteOfDay = 9 * 60
    """When, in `alerts.timezone`."""
    bots: tuple[BotName, ...] = ()
    """Who is told; none = nobody."""


class AlertsSection(Section):
    """What somebody is told."""

    timezone: Zone = ZoneInfo("Asia/Shanghai")
    """Whose days are meant."""
    tokens_per_day: Count | None = None
    """More tokens on one day are told of; nothing is refused for it. Absent: none are too many."""
    relay: RelaySection = RelaySection()
    """To the bots of group chats."""
    digest: DigestSection = DigestSection()
    """The daily digest."""


class TelemetrySection(Section):
    """What an OpenTelemetry collector is told, over OTLP/HTTP in JSON."""

    otlp: BaseUrl | None = None
    """Its URL, without `/v1`, such as `http://127.0.0.1:4318`. Absent: nothing is told."""
    traces: Boolean = True
    """A span for each request and each call, and trace context taken and passed on."""
    metrics: Boolean = True
    """The metrics of OpenTelemetry's conventions for generative AI, once a minute."""
    sample: Share = 0.1
    """The share of traces that begin here and are recorded. Of the others their caller has decided."""
    content: Boolean = False
    """Whether spans hold what was asked and answered."""
    headers: dict[HeaderName, HeaderValue] = {}
    """Headers that the collector wants, such as `authorization`."""
    service_name: Text = "penstock"
    """`service.name` there."""


class File(Section):
    """The whole file."""

    server: ServerSection = ServerSection()
    """Where Penstock listens and who may administer it."""
    store: Store = "sqlite:penstock.db"
    """Where ledger, cache and keys are kept. A relative path starts at the file's directory."""
    shared: Shared | None = None
    """What several processes share: the address alone, or these. Absent: one process serves."""
    currency: Currency = "CNY"
    """The book currency: every total is in it."""
    fx: dict[CurrencyName, Rate] | None = None
    """Book currency per unit of another currency. Absent, and the book in CNY: `{USD: 7.10}`."""
    ledger: LedgerSection = LedgerSection()
    """How surely the ledger is written."""
    providers: dict[ProviderName, ProviderSection] = {}
    """The APIs that serve models, by names of your own. None: a simulated one."""
    models: dict[ModelName, ModelSection] = {}
    """What clients may ask for. None: the default models of the providers' kinds."""
    cache: CacheSection = CacheSection()
    """Answers that are served again."""
    budgets: tuple[BudgetSection, ...] = ()
    """Limits of money and tokens. `penstock budgets set` adds, replaces and removes them; `reset` undoes that."""
    budget_wait: Duration = 5.0
    """How long a request that fits but for what others hold waits for them before it is refused."""
    bound: Bound = "bytes"
    """What a prompt is held as until it is billed: `bytes` never too little, `calibrated` by what was observed."""
    regions: RegionsSection = RegionsSection()
    """Where callers are."""
    sensitive: SensitiveSection = SensitiveSection()
    """What may go to `private` providers only."""
    limits: LimitsSection = LimitsSection()
    """Bounds of the whole gateway."""
    timeouts: TimeoutsSection = TimeoutsSection()
    """Deadlines."""
    retry: RetrySection = RetrySection()
    """How failed calls are repeated."""
    keys: tuple[KeySection, ...] = ()
    """Static keys, for development."""
    alerts: AlertsSection = AlertsSection()
    """What somebody is told, and where."""
    telemetry: TelemetrySection = TelemetrySection()
    """What an OpenTelemetry collector is told."""
