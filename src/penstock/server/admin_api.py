"""The admin plane: health, metrics, and what an operator may ask and do.

``/metrics /healthz /readyz`` need no token. ``/admin`` asks for ``server.admin_token``; without one configured it
answers only while the gateway is open (no key exists) and listens on loopback. Without a token every path also refuses
foreign Host names and web pages, whose Origin gives them away (DNS rebinding). Fails closed.
"""

import asyncio
import hmac
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.config.budget_records import changed_fields, is_there, source_of
from penstock.config.settings import Settings
from penstock.config.units import is_loopback
from penstock.core.budget_report import budget_rows
from penstock.errors import (
    BadRequest,
    ConfigError,
    PenstockError,
    StoreError,
    UnknownKey,
    UnknownPath,
    WrongMethod,
)
from penstock.observe.exposition import format_of
from penstock.pipeline.keyring import digest_key
from penstock.ports.budgets import BudgetRecord
from penstock.ports.keys import KeyRecord
from penstock.ports.ledger import SpendQuery
from penstock.server.documents import check_parameters, document, read_document
from penstock.server.fleet_api import FleetApi
from penstock.server.gateway import Gateway
from penstock.server.health import Health, Phase
from penstock.server.hosts import check_headers
from penstock.server.redaction import show
from penstock.server.replies import render_error
from penstock.stores.new_key import key_ids, new_key
from penstock.stores.span import find_zone, parse_instant
from penstock.stores.spend import GROUPINGS
from penstock.stores.spend_report import spend_report

SPEND_PARAMETERS: Final = ("by", "since", "until", "timezone")

Count = Annotated[int, msgspec.Meta(ge=1)]


class NewKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A key to create. ``models`` empty = all; limits None = none; ``expires_in_s`` None = never."""

    name: str
    team: Annotated[str, msgspec.Meta(max_length=100)] = ""
    models: tuple[str, ...] = ()
    rpm: Count | None = None
    tpm: Count | None = None
    concurrency: Count | None = None
    expires_in_s: Annotated[float, msgspec.Meta(gt=0)] | None = None


class Purge(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What of the cache to forget: what matches all that is given; nothing given, or ``all``: everything."""

    model: str | None = None
    key: str | None = None
    """A key's name or id, or ``anonymous``."""
    tag: str | None = None
    """``name=value``."""
    all: bool = False


class AdminApi:
    """The routes under ``/admin``."""

    def __init__(self, gateway: Gateway, load_settings: Callable[[], Settings]) -> None:
        """``load_settings``: reads the config anew; raises ConfigError with every mistake."""
        self._gateway = gateway
        self._load_settings = load_settings
        self._changing = asyncio.Lock()

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/metrics", self.metrics),
            Route("/admin/spend", self.spend),
            Route("/admin/keys", self.keys, methods=["GET", "POST"]),
            Route("/admin/keys/{name}", self.revoke_key, methods=["DELETE"]),
            Route("/admin/budgets", self.budgets),
            Route("/admin/budgets/{name}", self.budget, methods=["PUT", "DELETE"]),
            Route("/admin/budgets/{name}/reset", self.reset_budget, methods=["POST"]),
            Route("/admin/cache", self.cache),
            Route("/admin/cache/purge", self.purge, methods=["POST"]),
            Route("/admin/config", self.config),
            Route("/admin/reload", self.reload, methods=["POST"]),
            Route("/admin/exchanges/{exchange_id}", self.exchange),
        ]

    async def metrics(self, request: Request) -> Response:
        """Prometheus's text format, or OpenMetrics for who accepts that."""
        format_ = format_of(request.headers.get("accept", ""))
        return Response(await self._gateway.metrics.scrape(format_), media_type=format_.value)

    async def spend(self, request: Request) -> Response:
        """What ``penstock spend --format json`` prints."""
        gateway = self._gateway
        query = _read_query(request.query_params, gateway.clock.now())
        await self._settle()
        rows, total = await gateway.stores.reader.spend(query)
        shown, sums = spend_report(query.by, rows, total, gateway.settings.currency)
        return document({"rows": shown, "total": sums})

    async def keys(self, request: Request) -> Response:
        """List the keys, or create one."""
        if request.method == "POST":
            return await self._create_key(await read_document(request, NewKey))
        records = await self._gateway.stores.keys.list()
        return document({"rows": [_key_row(record) for record in records], "total": {"keys": len(records)}})

    async def revoke_key(self, request: Request) -> Response:
        """Revoke a key by name or id, for this process at once and for others within seconds."""
        gateway, name = self._gateway, request.path_params["name"]
        record = await gateway.stores.keys.revoke(name, gateway.clock.now())
        if record is None:
            raise UnknownPath(f"there is no live key {name[:64]!r}")
        await gateway.refresh_keys(always=True)
        return document(_key_row(record))

    async def budgets(self, _request: Request) -> Response:
        """What ``penstock budgets show --format json`` prints, as this process knows it."""
        return document({"rows": self._budget_rows(), "total": {}})

    async def budget(self, request: Request) -> Response:
        """Add a budget, or change what the body names of it; or remove it. That holds from now on."""
        name = request.path_params["name"]
        change = await read_document(request, dict[str, Any]) if request.method == "PUT" else None
        async with self._changing:  # a change is made of what stands now
            record = await (self._removed(name) if change is None else self._changed(name, change))
            await self._gateway.stores.budgets.put(record)
        await self._gateway.refresh_budgets(always=True)
        return document({"rows": self._budget_rows(name), "total": {}})

    async def reset_budget(self, request: Request) -> Response:
        """Forget what was set of a budget: what the config says of it, or nothing, holds from now on."""
        name = request.path_params["name"]
        async with self._changing:
            found = await self._gateway.stores.budgets.delete(name)
        if not found:
            raise UnknownPath(f"nothing was set of a budget {name[:64]!r}: what the config says of it holds")
        await self._gateway.refresh_budgets(always=True)
        return document({"rows": self._budget_rows(name), "total": {}})

    async def cache(self, _request: Request) -> Response:
        """How much the exact cache holds."""
        entries, size = self._gateway.stores.answers.stats()
        return document(
            {"rows": [{"cache": "exact", "entries": entries, "bytes": size}], "total": {"entries": entries}}
        )

    async def purge(self, request: Request) -> Response:
        """Forget stored answers, on all nodes."""
        form = await read_document(request, Purge)
        if form.all and (form.model or form.key or form.tag):
            raise BadRequest("say what to purge: model, key, tag, or all alone")
        tenants = [None] if form.key is None else await self._tenants(form.key)
        answers = self._gateway.stores.answers
        counts = [await answers.purge(model=form.model, tenant=tenant, tag=form.tag) for tenant in tenants]
        await self._gateway.refresh_answers()
        return document({"purged": sum(counts)})

    async def config(self, _request: Request) -> Response:
        """The settings in force, without their secrets."""
        return document(show(self._gateway.settings))

    async def reload(self, _request: Request) -> Response:
        """Serve by the config as it is now; an invalid one is refused whole and the old one serves on.

        Other nodes then read their own.
        """
        settings, restart = await self._gateway.reload(self._load_settings)
        await self._gateway.tell_reload()
        return document(
            {"source": settings.source, "needs_restart": list(restart), "warnings": list(settings.warnings)}
        )

    async def exchange(self, request: Request) -> Response:
        """Every ledger row of one exchange."""
        gateway, exchange_id = self._gateway, request.path_params["exchange_id"]
        await self._settle()
        rows = await gateway.stores.reader.exchange(exchange_id)
        if not rows:
            raise UnknownPath(f"the ledger has no exchange {exchange_id[:64]!r}")
        return document({"rows": [{"row": _kind(row)} | msgspec.to_builtins(row) for row in rows]})

    async def _changed(self, name: str, change: Mapping[str, Any]) -> BudgetRecord:
        records = await self._gateway.stores.budgets.list()
        try:
            return BudgetRecord(name, changed_fields(name, change, self._gateway.settings, records))
        except ConfigError as error:
            raise _bad_budget(name, error) from None
        except RecursionError:
            raise BadRequest("the body nests too deep for a budget") from None

    async def _removed(self, name: str) -> BudgetRecord:
        if not is_there(name, self._gateway.settings, await self._gateway.stores.budgets.list()):
            raise UnknownPath(f"there is no budget {name[:64]!r}")
        return BudgetRecord(name, {}, removed=True)

    def _budget_rows(self, name: str | None = None) -> list[dict[str, object]]:
        gateway = self._gateway
        found = [each for each in gateway.treasury.standings() if name in (None, each.budget.name)]
        return budget_rows(found, gateway.settings.currency)

    async def _settle(self) -> None:
        """Let answers show what has just ended; a ledger that cannot be written can still be read."""
        with suppress(StoreError):
            await self._gateway.stores.ledger.flush()

    async def _create_key(self, new: NewKey) -> Response:
        gateway = self._gateway
        now = gateway.clock.now()
        if any(record.name == new.name and record.is_live(now) for record in await gateway.stores.keys.list()):
            raise BadRequest(f"there is a live key {new.name!r}: revoke it first, or take another name", param="name")
        try:
            key, record = new_key(
                id_=gateway.ids.new("key"),
                digest=lambda key: digest_key(gateway.pepper, key),
                now=now,
                **msgspec.structs.asdict(new),
            )
        except StoreError as error:
            raise BadRequest(error.public) from None
        await gateway.stores.keys.add(record)
        await gateway.refresh_keys(always=True)
        return document({**_key_row(record), "key": key}, 201)

    async def _tenants(self, name: str) -> list[str]:
        """The tenants that a key's name stands for, revoked keys of that name included."""
        gateway = self._gateway
        tenants = key_ids(name, await gateway.stores.keys.list(), [key.name for key in gateway.settings.keys])
        if not tenants:
            raise BadRequest(f"there is no key {name[:64]!r}", param="key")
        return tenants


class Guard:
    """Lets those requests through to the app that may pass."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        try:
            self._check(scope)
        except PenstockError as error:
            await _refusal(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        token = self._gateway.settings.server.admin_token
        check_headers(scope["headers"], open_mode=token is None)
        if not scope["path"].startswith("/admin"):
            return
        if token is None:
            self._check_open()
        elif not _matches(_bearer(scope["headers"]), token.reveal().encode()):
            raise UnknownKey("the admin API asks for server.admin_token as a bearer token")

    def _check_open(self) -> None:
        gateway = self._gateway
        if not (gateway.keyring.open and is_loopback(gateway.settings.server.admin_listen)):
            raise UnknownKey("keys exist and no admin token is configured: set server.admin_token to use the admin API")


def admin_app(gateway: Gateway, phase: Phase, load_settings: Callable[[], Settings]) -> Guard:
    """The ASGI application of the admin plane."""

    def recording() -> bool:
        return gateway.settings.ledger.on_failure == "answer" or gateway.stores.ledger.healthy

    health = Health(phase, recording)
    routes = [
        Route("/healthz", health.healthz),
        Route("/readyz", health.readyz),
        *AdminApi(gateway, load_settings).routes(),
        *FleetApi(gateway).routes(),
    ]
    handlers: Mapping[Any, Any] = {404: _unknown_path, 405: _wrong_method, PenstockError: _refused, 500: _failed}
    return Guard(Starlette(routes=routes, exception_handlers=dict(handlers)), gateway)


async def _unknown_path(request: Request, _error: Exception) -> Response:
    return _refusal(UnknownPath(f"there is no {request.url.path[:200]} on the admin plane"))


async def _wrong_method(request: Request, error: HTTPException) -> Response:
    allow = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
    return _refusal(WrongMethod(f"{request.url.path[:200]} takes {allow}", allow=allow))


async def _refused(_request: Request, error: PenstockError) -> Response:
    return _refusal(error)


async def _failed(_request: Request, _error: Exception) -> Response:
    return _refusal(PenstockError("an error inside the gateway: see its log"))


def _refusal(error: PenstockError) -> Response:
    """Its reply. An invalid config is the operator's own mistake here, so each one is listed and it is a 400."""
    status, body, headers = render_error("chat", error, "")
    if isinstance(error, ConfigError):
        status = 400
        body = msgspec.json.encode({**msgspec.json.decode(body), "mistakes": error.mistakes})
    shown = {name.decode(): value.decode() for name, value in headers if name != b"content-length"}
    return Response(body, status, shown)


def _read_query(parameters: Mapping[str, str], now: float) -> SpendQuery:
    """``by since until timezone`` as on the command line."""
    check_parameters(parameters, SPEND_PARAMETERS)
    by, timezone = parameters.get("by", "model"), parameters.get("timezone", "UTC")
    if by not in GROUPINGS:
        raise BadRequest(f"cannot group by {by[:64]!r}: use {', '.join(GROUPINGS)}", param="by")
    try:
        find_zone(timezone)
        since = parse_instant(parameters.get("since", "30d"), now, timezone)
        until = parse_instant(parameters.get("until", "now"), now, timezone)
    except StoreError as error:
        raise BadRequest(error.public) from None
    return SpendQuery(by, since, until, timezone)


def _bad_budget(name: str, error: ConfigError) -> BadRequest:
    """Every mistake; ``param`` is the field of the first."""
    mistakes = [line.removeprefix(f"{source_of(name)}: ") for line in error.mistakes]
    field = mistakes[0].partition(":")[0].partition(".")[0].partition("[")[0]
    return BadRequest("; ".join(mistakes), param=field)


def _key_row(record: KeyRecord) -> dict[str, object]:
    """A key as it is listed: without its hash."""
    return {name: value for name, value in asdict(record).items() if name != "digest"}


def _kind(row: object) -> str:
    return type(row).__name__.removesuffix("Row").lower()


def _matches(given: bytes, token: bytes) -> bool:
    return bool(token) and hmac.compare_digest(given, token)


def _bearer(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
    return b""
