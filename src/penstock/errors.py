"""Every error Penstock raises on purpose, as one tree.

    PenstockError
    ├── ConfigError                 the file or the environment is wrong (all mistakes at once)
    ├── StoreError                  a store did not do what it was asked
    │   ├── StoreUnreachable        its server is away, or does not answer in time
    │   ├── SchemaTooOld            a migration is missing
    │   ├── SchemaTooNew            a newer Penstock has cleaned up after this one
    │   ├── LeaseEnded              nothing may be opened, and nothing is lent, under it any more
    │   └── SharedUnavailable       what nodes share did not answer in time
    │       ├── EpochLost           what is lent is not, or older than, what was seen of it: begin anew
    │       └── SharedRefused       it does not let this node in, and time does not cure that
    ├── PriceError                  no price with a source covers that model at that instant
    ├── RequestError                whose fault: the client
    │   ├── BadRequest  BadHost  UnknownPath  WrongMethod  BodyTooLarge  BodyTooSlow
    │   ├── UnknownKey  ModelForbidden  UnknownModel
    │   ├── IdempotencyMismatch  NotCached  ClientGone
    │   ├── RateLimited  BudgetExceeded
    │   ├── CostUnbounded           under a budget, and nobody can say what it may cost at most
    │   └── LoopDetected            it came through more Penstocks than there can be
    ├── GatewayError                whose fault: ours, or what we run on
    │   └── Saturated  Draining  KeysUnavailable  LedgerUnavailable  NoDeployment
    └── UpstreamError               whose fault: the provider
        ├── Unreachable             no connection, or it broke before an answer began
        ├── ProviderTimeout         one of our deadlines passed while waiting for it
        ├── ProviderBusy            408 429 5xx, or cut off for lack of capacity
        │   └── CentreSpent         a central Penstock has called its providers in vain
        ├── ProviderRefused         400 404 413 422: this request will not be served there
        │   └── CentreRefused       a central Penstock refuses whom we ask for
        ├── ProviderAccount         401 402 403: this account will not be served
        └── BadAnswer               what came back is no answer (broken stream, not JSON, error inside a 200)
            └── CutAnswer           it began and broke off: the provider worked for it

Policy reads the fields, never the text: ``kind`` names the error on the wire and in the ledger, ``origin`` says
whose fault it is, ``retry`` whether another call may cure it. ``public`` is safe for the caller; ``detail`` is for
the operator and goes to the log only. ``server/replies.py`` maps kinds to statuses in one table.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar


class Origin(StrEnum):
    """Whose fault an error is."""

    CLIENT = "client"
    GATEWAY = "gateway"
    PROVIDER = "provider"
    OPERATOR = "operator"


class Retry(StrEnum):
    """Whether another call may cure an error."""

    NEVER = "never"
    ELSEWHERE = "elsewhere"
    """On another account only."""
    ANYWHERE = "anywhere"


class PenstockError(Exception):
    """The root. ``public`` is shown to the caller, ``detail`` to the operator only."""

    kind: ClassVar[str] = "internal_error"
    origin: ClassVar[Origin] = Origin.GATEWAY
    retry: ClassVar[Retry] = Retry.NEVER

    def __init__(
        self, public: str, *, detail: str = "", param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        """``param``: the offending request field; ``retry_after_s``: when asking again makes sense, in seconds."""
        super().__init__(public)
        self.public = public
        self.detail = detail
        self.param = param
        self.retry_after_s = retry_after_s


class ConfigError(PenstockError):
    """The config is wrong; ``mistakes`` lists every one as ``file:line: path: what, and what to do``."""

    kind = "config_error"
    origin = Origin.OPERATOR

    def __init__(self, mistakes: list[str]) -> None:
        """``mistakes``: one finished line each."""
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class StoreError(PenstockError):
    """A store failed; the detail carries the driver's words."""

    kind = "store_error"
    origin = Origin.OPERATOR


class SharedUnavailable(StoreError):
    """What the nodes share did not answer within its deadline, or is left alone because it did not before."""

    kind = "shared_unavailable"


class EpochLost(SharedUnavailable):
    """What is lent was emptied, rewound, or is another server's: nothing may be lent of it before it begins anew."""

    def __init__(self, found: int | None) -> None:
        """``found``: the epoch that stands there; None = none."""
        super().__init__("the budgets that nodes share are being counted anew: try again", retry_after_s=1.0)
        self.found = found


class SharedRefused(SharedUnavailable):
    """What nodes share does not let this one in, or it lacks what it takes: to ask again is of no use."""


class StoreUnreachable(StoreError):
    """Its server is away, or does not answer in time."""


class SchemaTooOld(StoreError):
    """A migration that this code needs was not made."""


class SchemaTooNew(StoreError):
    """A newer Penstock has taken away what this code needs."""


class LeaseEnded(StoreError):
    """The lease under which something was to be opened has ended: take another, and ask again for what it held."""


class PriceError(PenstockError):
    """No dated price with a source covers this model at this instant."""

    kind = "price_unknown"
    origin = Origin.OPERATOR


class RequestError(PenstockError):
    """The client has to change something."""

    kind = "invalid_request"
    origin = Origin.CLIENT


class BadRequest(RequestError):
    """The body is not a request of this endpoint."""


class BadHost(RequestError):
    """The Host header is missing, doubled or no host name."""

    kind = "bad_host"


class UnknownPath(RequestError):
    """No such endpoint."""

    kind = "unknown_path"


class WrongMethod(RequestError):
    """The endpoint exists, with another method."""

    kind = "wrong_method"

    def __init__(self, public: str, *, allow: str) -> None:
        """``allow``: the methods it takes, as the header ``Allow`` lists them."""
        super().__init__(public)
        self.allow = allow


class BodyTooLarge(RequestError):
    """The body exceeds ``limits.max_body``."""

    kind = "body_too_large"


class BodyTooSlow(RequestError):
    """The body did not arrive in time."""

    kind = "body_too_slow"


class UnknownKey(RequestError):
    """No such key, or revoked, or expired."""

    kind = "invalid_api_key"


class ModelForbidden(RequestError):
    """The key may not use this model."""

    kind = "model_forbidden"


class UnknownModel(RequestError):
    """No model of this name is configured."""

    kind = "model_not_found"


class IdempotencyMismatch(RequestError):
    """The Idempotency-Key was used before with another body."""

    kind = "idempotency_mismatch"


class NotCached(RequestError):
    """``Cache-Control: only-if-cached`` and nothing is stored."""

    kind = "not_cached"


class ClientGone(RequestError):
    """The client left before its answer."""

    kind = "client_gone"


class RateLimited(RequestError):
    """The key's requests or tokens per minute, or its concurrency, are used up."""

    kind = "rate_limited"


class BudgetExceeded(RequestError):
    """A budget does not hold what this request may cost. ``refused_by`` says which, for the answer's body."""

    kind = "budget_exceeded"

    def __init__(self, public: str, *, refused_by: Mapping[str, str | int | float | None], **more: Any) -> None:
        """``refused_by``: budget, scope, value, unit, used, limit, resets_at (epoch seconds, None = never), timezone.

        ``unit`` is ``tokens`` or the book currency, and the amounts are then nano-units of it.
        """
        super().__init__(public, **more)
        self.refused_by = refused_by


class CostUnbounded(RequestError):
    """Under a budget only what has an upper bound may be asked: no price, or a part that nobody can measure."""

    kind = "cost_unbounded"


class LoopDetected(RequestError):
    """A Penstock asks itself, by way of others or not."""

    kind = "loop_detected"


class GatewayError(PenstockError):
    """Penstock cannot take this request now."""

    kind = "gateway_error"


class Saturated(GatewayError):
    """More requests wait than ``limits.max_queue`` allows."""

    kind = "saturated"


class Draining(GatewayError):
    """The process is shutting down."""

    kind = "draining"


class KeysUnavailable(GatewayError):
    """The store of keys could not be read for ``server.keys_stale``: nobody knows whose key holds any more."""

    kind = "keys_unavailable"


class LedgerUnavailable(GatewayError):
    """The ledger cannot be written and ``ledger.on_failure`` is ``refuse``."""

    kind = "ledger_unavailable"


class NoDeployment(GatewayError):
    """No deployment of the model can serve this request; the plan says why each was dropped.

    ``retry_after_s``: until the first of them is asked again; None = none of them ever can.
    """

    kind = "no_deployment"


class Reach(StrEnum):
    """How far a call that failed had come."""

    NOWHERE = "nowhere"
    """Its request never left us, so it costs its provider nothing."""
    BROKEN = "broken"
    """Its connection broke: whatever was made of it, nobody will hear it."""
    SENT = "sent"
    """Its provider has it: it answered, or we did not wait for it any longer."""


class UpstreamError(PenstockError):
    """The provider failed. ``status`` and ``body`` are what it answered, where it did."""

    kind = "provider_error"
    origin = Origin.PROVIDER
    retry = Retry.ANYWHERE
    said = ""
    """The kind of error of a central Penstock, which the client is told as if it were ours; "" = it is none."""

    def __init__(
        self,
        public: str,
        *,
        detail: str = "",
        status: int | None = None,
        body: bytes = b"",
        retry_after_s: float | None = None,
        param: str | None = None,
        reach: Reach = Reach.SENT,
    ) -> None:
        """``status``: the provider's HTTP status, None when none came; ``body``: its error body, bounded."""
        super().__init__(public, detail=detail, retry_after_s=retry_after_s, param=param)
        self.reach = reach
        self.status = status
        self.body = body


class Unreachable(UpstreamError):
    """No connection, or it broke before an answer began."""

    kind = "provider_unreachable"


class ProviderTimeout(UpstreamError):
    """One of our deadlines (first_byte, between, total) passed.

    Never retried on the same account: the call may run to its end there, and be billed twice.
    """

    kind = "provider_timeout"
    retry = Retry.ELSEWHERE


class ProviderBusy(UpstreamError):
    """408, 429, 5xx, or an answer cut off for lack of capacity."""

    kind = "provider_busy"


class ProviderRefused(UpstreamError):
    """The provider says this request is wrong; its own words go to the client."""

    kind = "provider_refused"
    retry = Retry.ELSEWHERE


class CentreSpent(ProviderBusy):
    """A central Penstock has tried what it could. Asked again it would try, and may be billed, all of it again."""

    retry = Retry.ELSEWHERE


class CentreRefused(ProviderRefused):
    """A central Penstock refuses the tenant that is asked for, or the request: nothing is wrong with the centre."""


class ProviderAccount(UpstreamError):
    """The provider does not accept our account: credentials or balance."""

    kind = "provider_account"
    retry = Retry.ELSEWHERE


class BadAnswer(UpstreamError):
    """What came back is no answer: a broken stream, not JSON, an error inside a 200."""

    kind = "provider_bad_answer"


class CutAnswer(BadAnswer):
    """An answer began and broke off.

    Never retried on the same account: the provider worked, and may bill both calls.
    """

    retry = Retry.ELSEWHERE
