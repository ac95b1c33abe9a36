"""The settings: frozen, complete, typed. Everything outside this package sees only these.

Made by ``load.py`` from the file and the environment. Units are in the names; every default is in ``schema.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from penstock.core.budget import Budget


@dataclass(frozen=True, slots=True)
class Secret:
    """A credential that prints as ``***``; call it to read it where it is sent, nowhere else."""

    _value: str = field(repr=False)

    def reveal(self) -> str:
        """The credential itself."""
        return self._value

    def __str__(self) -> str:
        return "***"

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return "***"


@dataclass(frozen=True, slots=True)
class Address:
    """A listen address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where Penstock listens and who may administer it."""

    listen: Address
    admin_listen: Address
    admin_token: Secret | None
    secret: Secret | None
    """The pepper of stored keys; None = a file beside the store."""
    drain_s: float
    trusted_proxies: tuple[str, ...]
    cors: tuple[str, ...]
    edges: frozenset[str] = frozenset()
    """Names of the keys of other Penstocks, which say for whom they ask."""
    keys_stale_s: float = 3600.0
    """How long the store's keys are believed while it cannot be asked."""


@dataclass(frozen=True, slots=True)
class PriceOverride:
    """A flat price of the operator's own for every model of a provider, per million tokens."""

    input: Decimal
    cached_input: Decimal
    output: Decimal
    currency: str
    cache_write: Decimal | None = None


@dataclass(frozen=True, slots=True)
class SimulationSettings:
    """How a simulated provider does. ``busy`` and ``failing`` are shares of its calls."""

    speed: float = 1.0
    """How many times quicker than life it answers."""
    busy: float = 0.01
    failing: float = 0.0


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One API with one base URL and one set of credentials."""

    name: str
    kind: str
    """A row of ``providers/registry.py``."""
    base_urls: Mapping[str, str]
    """Dialect -> URL up to, not including, the endpoint's own path (``https://api.deepseek.com/v1``)."""
    api_key: Secret | None
    prices: PriceOverride | None
    private: bool
    after_disconnect: str
    """``stops`` or ``completes``."""
    billed_at: str
    """``completion`` or ``start``."""
    price_book: str
    """The price file its models are looked up in."""
    currency: str
    """Which of the price book's price lists applies."""
    proxy: Secret | None
    ca_file: Path | None
    headers: Mapping[str, Secret]
    concurrency: int | None = None
    """Calls in flight that the account allows per model; None = as the kind says, else unknown."""
    simulation: SimulationSettings | None = None
    """None = as its kind does by itself; only of the simulated one."""
    probe_s: float = 0
    """How often it is asked whether it is back, while it is out; 0 = never."""
    charged_elsewhere: bool = False
    """It is a Penstock, our centre: its ledger is charged, ours is not."""
    sync_s: float = 0
    """How often changed answers are pulled from a centre; 0 = never."""
    balance_every_s: float = 0
    """How often it is asked what the account holds; 0 = never."""
    balance_low: Decimal | None = None
    """From where on that is little, in ``currency``; None = never."""


@dataclass(frozen=True, slots=True)
class DeploymentSettings:
    """A model as served at one provider."""

    provider: ProviderSettings
    model: str
    """The provider's name for it."""
    weight: int
    region: str
    priority: int = 0
    """Lower first."""
    concurrency: int | None = None
    """Calls in flight that its account is known to allow for it."""
    id: str = field(init=False)
    """``provider/model``: the label of metrics, headers and the ledger."""

    def __post_init__(self) -> None:
        """Name it."""
        object.__setattr__(self, "id", f"{self.provider.name}/{self.model}")


@dataclass(frozen=True, slots=True)
class TimeoutSettings:
    """Seconds. ``first_byte`` runs from dispatch to the first data event; ``total`` over all attempts."""

    connect_s: float
    first_byte_s: float
    between_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class ExactSettings:
    """The exact cache of a model, key or tag. ``ttl_s`` 0 = off."""

    ttl_s: float


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The public name a client asks for."""

    name: str
    deployments: tuple[DeploymentSettings, ...]
    balance: str
    baseline: DeploymentSettings | None
    """What a saving is measured against; the first deployment unless the file names another."""
    default_output: int
    stream_upstream: bool
    exact: ExactSettings | None
    """None = as ``cache.exact`` says."""
    timeouts: TimeoutSettings
    cheaper: str = ""
    """The model that the ladder steps down to; "" = none."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What an alias sets in the request (an alias is a ModelSettings of its own name)."""
    alias_of: str = ""
    hash_by: str = "address"
    """``address key session``: what ``ip_hash`` goes by."""
    regions: str = "any"
    """``any caller fixed latency``: which region comes first."""
    hedge: bool = False
    sensitive: bool = False
    """It may be served by private providers only."""


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """``exact_ttl_s`` 0 = the exact cache is off. ``by_key`` and ``by_tag`` override per key name and ``tag=value``."""

    exact_ttl_s: float
    max_bytes: int
    join: bool
    share: str
    """``key`` (default), ``team`` or ``all``: who shares stored answers."""
    by_key: Mapping[str, ExactSettings]
    by_tag: Mapping[str, ExactSettings]
    stale_s: float = 0
    """How long past its time an answer is kept for the ladder's ``stale``, and for ``stale_on_error``."""
    stale_on_error: bool = False


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Bounds of the whole gateway."""

    max_body: int
    max_concurrency: int
    max_queue: int
    queue_wait_s: float = 5.0
    adaptive: bool = True
    capacity_per_s: float | None = None
    """Requests per second that a node was sized for; None = nobody has said."""


@dataclass(frozen=True, slots=True)
class RegionSettings:
    """Where callers are: by key name, and by network."""

    keys: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SensitiveSettings:
    """Whose requests only private providers may see; models say so themselves. ``tags``: ``name=value``."""

    keys: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """``attempts`` counts calls per exchange; ``budget`` is the share of requests that may be retried."""

    attempts: int
    backoff_s: float
    budget: float


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """``sync``: ``normal`` or ``full``. ``on_failure``: ``refuse`` or ``answer``. ``retention_s`` None = for ever."""

    sync: str
    on_failure: str
    retention_s: float | None = None
    spool: Path | None = None
    """Where rows wait while their server is away; None = in ``Settings.directory``."""


@dataclass(frozen=True, slots=True)
class SharedSettings:
    """What nodes share. ``slice`` is of a limit; ``on_failure`` and ``keys`` (by name): ``refuse`` or ``answer``."""

    url: str = field(repr=False)
    slice: float
    on_failure: str
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StaticKey:
    """A key from the config file, for development. ``rpm tpm concurrency`` None = unlimited."""

    name: str
    key_sha256: str
    team: str
    models: tuple[str, ...]
    rpm: int | None
    tpm: int | None
    concurrency: int | None


@dataclass(frozen=True, slots=True)
class BotSettings:
    """A bot of a group chat. ``kind``: one of ``wire.bots.BOTS``."""

    name: str
    kind: str
    url: Secret
    """Its token is in it."""
    secret: Secret | None
    """What its messages are signed with; None = they are not."""


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """What somebody is told, and where."""

    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Asia/Shanghai"))
    """Whose days are meant."""
    listen: Address = Address("127.0.0.1", 8790)
    """Of the relay."""
    token: Secret | None = None
    """What Alertmanager shows to it; None = nothing."""
    bots: Mapping[str, BotSettings] = field(default_factory=dict)
    digest_minute: int = 9 * 60
    """After midnight: when yesterday's money is told."""
    digest_bots: tuple[str, ...] = ()
    tokens_per_day: int | None = None
    """More than these are told of; None = nobody has said."""


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """What is told to an OpenTelemetry collector."""

    otlp: str | None = None
    """Its URL up to, not including, ``/v1``; None = nothing is told."""
    traces: bool = True
    metrics: bool = True
    sample: float = 0.1
    """The share of traces that begin here and are recorded; of others their caller has decided."""
    content: bool = False
    """Spans hold what was asked and answered."""
    headers: Mapping[str, Secret] = field(default_factory=dict)
    service_name: str = "penstock"

    @property
    def traces_on(self) -> bool:
        """Whether there is anything to trace for."""
        return self.otlp is not None and self.traces

    @property
    def metrics_on(self) -> bool:
        """Whether there is anything to count for."""
        return self.otlp is not None and self.metrics


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything, complete."""

    source: str
    """The file it came from, or ``built-in``."""
    directory: Path
    """Relative paths resolve from here."""
    server: ServerSettings
    store: str = field(repr=False)
    currency: str
    fx: Mapping[str, Decimal]
    ledger: LedgerSettings
    providers: Mapping[str, ProviderSettings]
    models: Mapping[str, ModelSettings]
    """Aliases included."""
    cache: CacheSettings
    limits: LimitSettings
    timeouts: TimeoutSettings
    retry: RetrySettings
    keys: tuple[StaticKey, ...]
    simulated: bool
    """True when no provider is configured and the sim provider serves."""
    budgets: tuple[Budget, ...] = ()
    written_budgets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """``budgets`` by name, in the fields and the currencies of the file: what a change of one begins with."""
    budget_wait_s: float = 5.0
    """How long a request waits for holds of others to end before it is refused."""
    bound: str = "bytes"
    """What a prompt is held as: ``bytes`` (a true bound) or ``calibrated`` (by what was observed)."""
    regions: RegionSettings = RegionSettings()
    sensitive: SensitiveSettings = SensitiveSettings()
    shared: SharedSettings | None = None
    """None = one process serves."""
    takes_models: bool = False
    """The file names no models, so those that a centre offers are served too."""
    warnings: tuple[str, ...] = ()
    alerts: AlertSettings = field(default_factory=AlertSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)

    @property
    def shared_url(self) -> str:
        """Of what nodes share; "" = nothing."""
        return "" if self.shared is None else self.shared.url
