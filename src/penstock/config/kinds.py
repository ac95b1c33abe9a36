"""What is known about a kind of provider before anybody configures one: a row of defaults.

The rows themselves stand in ``providers/registry.py``, a layer above; they reach ``load()`` as a value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

DIALECTS: Final = ("chat", "completions", "embeddings", "messages")
"""The wire formats a provider may speak."""


@dataclass(frozen=True, slots=True)
class DefaultAlias:
    """Another name for one of a kind's default models, with the request fields it sets."""

    model: str
    """One of the row's ``default_models``."""
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of provider. A provider entry in the file overrides what it names and takes the rest from here."""

    name: str
    adapter: str
    """Which adapter of ``providers/`` speaks to it."""
    base_urls: Mapping[str, str] = field(default_factory=dict)
    """Dialect -> URL up to, not including, the endpoint's own path; its keys are the dialects the kind speaks.

    chat -> ``{base}/chat/completions``, completions -> ``{base}/completions``, embeddings -> ``{base}/embeddings``,
    messages -> ``{base}/messages`` and ``{base}/messages/count_tokens``.
    """
    env_key: str = ""
    """The environment variable that holds its key by custom; "" = none."""
    needs_key: bool = True
    """Whether its own URLs refuse calls without a key."""
    currency: str = "CNY"
    """The price list of the price book that applies by default."""
    price_book: str = ""
    """The price file its models are looked up in; "" = unpriced unless the provider entry sets ``prices``."""
    after_disconnect: str = "completes"
    """``completes`` or ``stops``: what it does with a call whose connection we close."""
    billed_at: str = "completion"
    """``completion`` or ``start``: the instant that decides the tariff."""
    private: bool = False
    """Whether data sent there stays with the operator."""
    default_models: tuple[str, ...] = ()
    """Offered when the file has no ``models:``."""
    default_aliases: Mapping[str, DefaultAlias] = field(default_factory=dict)
    generic: bool = False
    """Any server of this dialect may stand behind it: at a ``base_url`` of the operator's own neither the row's
    default models nor its price book apply."""
    cap_field: str = "max_tokens"
    """The field of a chat request that caps its output, where the client sent none."""
    thinking_off: Mapping[str, Any] = field(default_factory=dict)
    """The top-level fields of a chat request that turn thinking off; none = nobody knows how."""
    concurrency: Mapping[str, int] = field(default_factory=dict)
    """Calls at once that an account is allowed, by the provider's name of the model; what is missing is unknown."""
    charged_elsewhere: bool = False
    """It is a Penstock: what is asked of it is charged in its ledger, and costs nothing in ours."""
    dialects: tuple[str, ...] = ()
    """What a kind without URLs of its own speaks below the operator's ``base_url``; none = OpenAI's."""
    balance_path: str = ""
    """Where, below the chat base, it tells what an account holds, as ``providers/balance`` reads it; "" = nowhere."""
