"""What a centre hands to its edges below ``/v1/edge/``: its offer, what was purged, and their tenants' answers.

Read-only, on the data plane, with the edge's own key: an edge holds no credential but the one it asks with, and sees
no answer of anybody but its own tenants. Fails closed: a key that ``server.edges`` does not name gets nothing.
"""

import asyncio
from collections import ChainMap
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol
from urllib.parse import parse_qsl

import msgspec

from penstock.config.offered import offered_prices
from penstock.config.prices import price_texts
from penstock.config.settings import ModelSettings, Settings
from penstock.core.offer import (
    MOST_ANSWER_BYTES,
    MOST_ANSWERS,
    MOST_MODELS,
    MOST_PURGES,
    AnswersPage,
    ChangedAnswer,
    Offer,
    Offered,
    PurgeNote,
    PurgesPage,
)
from penstock.errors import BadRequest, UnknownKey, WrongMethod
from penstock.pipeline.admit import usable
from penstock.pipeline.exchange import Principal
from penstock.pipeline.keyring import KeyRing
from penstock.ports.answers import Changed, Purged, StoredAnswer
from penstock.ports.clock import Clock
from penstock.ports.stores import Stores
from penstock.server.head import PREFIXES

NAMES: Final = ("offer", "purges", "answers")
PATHS: Final[Mapping[str, str]] = {f"{prefix}/edge/{name}": name for prefix in PREFIXES for name in NAMES}
SETTLED_S: Final = 2.0
"""An answer is handed out that long after it was stored: none that is written later bears an earlier time by then."""


class Centre(Protocol):
    """What this needs of the gateway."""

    settings: Settings
    keyring: KeyRing
    stores: Stores
    clock: Clock
    offers: Mapping[str, Offer]
    """Of its own centres."""


class SyncApi:
    """The three documents."""

    def __init__(self, gateway: Centre) -> None:
        self._gateway = gateway
        self._one_at_a_time = asyncio.Lock()
        """Pages of answers are large."""

    async def answer(self, path: str, method: str, credential: str, query: bytes) -> bytes:
        """The document at ``path``, one of ``PATHS``. Raises UnknownKey, WrongMethod, BadRequest, StoreError."""
        if method != "GET":
            raise WrongMethod(f"{path} takes GET", allow="GET")
        edge = self._edge(credential)
        documents: Mapping[str, Callable[[Principal, str], Awaitable[msgspec.Struct]]] = {
            "offer": self._offer,
            "purges": self._purges,
            "answers": self._answers,
        }
        return msgspec.json.encode(await documents[PATHS[path]](edge, _mark(query)))

    def _edge(self, credential: str) -> Principal:
        gateway = self._gateway
        principal = gateway.keyring.identify(credential, gateway.clock.now(), gateway.clock.monotonic())
        if gateway.keyring.open or principal.name not in gateway.settings.server.edges:
            raise UnknownKey("this key is no edge's: whoever runs this gateway names it in server.edges")
        return principal

    async def _offer(self, edge: Principal, _mark: str) -> Offer:
        """What its key may use, and every price list; those of our own centre come before ours."""
        models, offers = self._gateway.settings.models, self._gateway.offers
        told = offered_prices(offers)
        offered = (_offered(models[name], told) for name in usable(models, edge)[:MOST_MODELS])
        lists = ChainMap(*({**offer.prices} for offer in offers.values()), price_texts())
        return Offer(models=tuple(offered), prices=dict(lists))

    async def _purges(self, edge: Principal, mark: str) -> PurgesPage:
        since = await self._gateway.stores.answers.purges(mark, MOST_PURGES)
        notes = tuple(note for purged in since.purges if (note := self._note(edge, purged)) is not None)
        more = len(since.purges) >= MOST_PURGES
        return PurgesPage(mark=since.mark, known=since.known, notes=notes, more=more)

    def _note(self, edge: Principal, purged: Purged) -> PurgeNote | None:
        """What of a purge is this edge's; a model's answers may stand under the name of one that steps down to it."""
        tenant = purged.tenant
        if tenant is not None and tenant != edge.key_id:
            own, slash, tenant = tenant.partition("/")
            if not slash or own != edge.key_id:
                return None
        elif tenant is not None:
            tenant = None
        models = self._gateway.settings.models.values()
        dearer = (each.name for each in models if purged.model is not None and each.cheaper == purged.model)
        named = () if purged.model is None else (purged.model, *dearer)
        return PurgeNote(models=named, tenant=tenant, tag=purged.tag)

    async def _answers(self, edge: Principal, mark: str) -> AnswersPage:
        now = self._gateway.clock.now()
        wanted = Changed(
            edge=edge.key_id,
            after=mark,
            until=now - SETTLED_S,
            now=now,
            limit=MOST_ANSWERS,
            max_bytes=MOST_ANSWER_BYTES,
        )
        async with self._one_at_a_time:
            found = await self._gateway.stores.answers.changed(wanted)
        answers = tuple(_changed(answer, now) for _, answer in found if answer.model in self._visible(edge))
        return AnswersPage(mark=found[-1][0] if found else mark, answers=answers, more=bool(found))

    def _visible(self, edge: Principal) -> frozenset[str]:
        return frozenset(usable(self._gateway.settings.models, edge))


def _mark(query: bytes) -> str:
    """``since=MARK``; "" = from the beginning. Raises BadRequest for anything else."""
    try:
        given = dict(parse_qsl(query.decode("ascii"), strict_parsing=True)) if query else {}
    except (UnicodeDecodeError, ValueError):
        given = {"": ""}
    if given.keys() - {"since"}:
        raise BadRequest("there is no such parameter: use since")
    return given.get("since", "")


def _offered(model: ModelSettings, told: Mapping[str, Offered]) -> Offered:
    """With what its savings are measured by here; ``told``: by our own centres, by deployment."""
    name, output = model.name, max(1, model.default_output)
    if model.baseline is None:
        return Offered(name=name, default_output=output)
    provider, prices = model.baseline.provider, model.baseline.provider.prices
    handed_on = told.get(model.baseline.id) if not (prices or provider.price_book) else None
    if handed_on is not None:
        return msgspec.structs.replace(handed_on, name=name, default_output=output)
    if prices is not None:
        flat = prices.input, prices.cached_input, prices.output, prices.cache_write
        return Offered(name=name, default_output=output, flat=flat, currency=prices.currency)
    priced_as = model.baseline.model
    return Offered(
        name=name, default_output=output, book=provider.price_book, priced_as=priced_as, currency=provider.currency
    )


def _changed(answer: StoredAnswer, now: float) -> ChangedAnswer:
    return ChangedAnswer(
        entry=answer.entry,
        tenant=answer.tenant.partition("/")[2],
        tags=answer.tags,
        model=answer.model,
        age_s=max(0.0, now - answer.stored_at),
        usage=answer.usage,
        estimated=answer.estimated,
        attempt_id=answer.attempt_id,
        body=answer.body,
    )
