"""How the file spells what is no quantity: URLs, names, credentials, stores.

As in ``units.py``: text in, value out, or ValueError with what follows the text's name, never the text itself.
"""

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from penstock.config.settings import Secret

_CREDENTIAL: Final = re.compile(r"[\x21-\x7e]{1,8192}")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]{0,8192}")
_OUR_HEADERS: Final = frozenset((
    "host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding",
))  # fmt: skip
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_ENDPOINTS: Final = ("/chat/completions", "/completions", "/embeddings", "/messages", "/models")
_LONGEST_TEXT: Final = 4096


def parse_text(text: str) -> str:
    """Printable text, not empty."""
    if not text:
        raise ValueError("is empty; write a name")
    if not text.isprintable() or len(text) > _LONGEST_TEXT:
        raise ValueError("is no printable text of reasonable length; shorten it or remove the control characters")
    return text


def parse_label(text: str) -> str:
    """Printable text, perhaps empty."""
    return parse_text(text) if text else ""


def parse_model_name(text: str) -> str:
    """The name of a model: printable, without spaces."""
    if parse_text(text) != text.strip() or " " in text:
        raise ValueError("has a space in it; a model's name has none")
    return text


def parse_provider_name(text: str) -> str:
    """The name of a provider: it becomes a part of ``provider/model`` and a metric label."""
    if not _NAME.fullmatch(text):
        raise ValueError("is no provider name; use letters, digits, `.`, `_` and `-`, 64 at most")
    return text


def parse_budget_name(text: str) -> str:
    """The name of a budget: it becomes a metric label and a part of a path."""
    if not _NAME.fullmatch(text):
        raise ValueError("is no budget name; use letters, digits, `.`, `_` and `-`, 64 at most")
    return text


def parse_bot_name(text: str) -> str:
    """The name of a bot: it becomes a part of a path."""
    if not _NAME.fullmatch(text):
        raise ValueError("is no name of a bot; use letters, digits, `.`, `_` and `-`, 64 at most")
    return text


def parse_zone(text: str) -> ZoneInfo:
    """An IANA time zone."""
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError("is no time zone; write an IANA name, such as Asia/Shanghai") from None


def parse_currency(text: str) -> str:
    """An ISO 4217 code."""
    if not _CURRENCY.fullmatch(text):
        raise ValueError("is no currency; write a code of three capitals, such as CNY or USD")
    return text


def parse_credential(text: str) -> Secret:
    """A token of visible ASCII characters; white space around it is dropped."""
    if not _CREDENTIAL.fullmatch(stripped := text.strip()):
        raise ValueError("is empty or has spaces or non-ASCII characters in it; copy the credential again")
    return Secret(stripped)


def parse_sha256(text: str) -> str:
    """A SHA-256 in lower-case hex."""
    if not _SHA256.fullmatch(text.lower()):
        raise ValueError("is no SHA-256; write its 64 hexadecimal digits, never the key itself")
    return text.lower()


def parse_header_name(text: str) -> str:
    """A header name, lower case, that a provider entry may set."""
    if not _HEADER_NAME.fullmatch(text):
        raise ValueError("is no header name; use letters, digits and `-`")
    if text.lower() in _OUR_HEADERS:
        raise ValueError("is set by Penstock itself; remove it")
    return text.lower()


def parse_header_value(text: str) -> Secret:
    """A header value: printable ASCII."""
    if not _HEADER_VALUE.fullmatch(text):
        raise ValueError("is no header value; use printable ASCII on one line")
    return Secret(text)


def parse_base_url(text: str) -> str:
    """An http(s) URL up to, not including, an endpoint's path; without its trailing slash."""
    url = _split(text, ("http", "https"), "http://127.0.0.1:8000/v1")
    if url.username is not None or url.password is not None:
        raise ValueError("has a user or password in it; use api_key or headers")
    if url.query or url.fragment:
        raise ValueError("has a query or fragment; end it with the path, such as /v1")
    path = url.path.rstrip("/")
    if path.endswith(_ENDPOINTS):
        raise ValueError("ends in an endpoint's path; end it before that, such as at /v1")
    return f"{url.scheme}://{url.netloc}{path}"


def parse_proxy(text: str) -> Secret:
    """The URL of an HTTP proxy, the only kind that ``providers/dial.py`` speaks to; it may hold a password."""
    _split(text, ("http",), "http://127.0.0.1:3128")
    return Secret(text)


def parse_bot_url(text: str) -> Secret:
    """The webhook of a bot, its token in path or query: all of it is a secret."""
    url = _split(text, ("http", "https"), "https://oapi.dingtalk.com/robot/send?access_token=...")
    if url.fragment or url.username is not None:
        raise ValueError("has a fragment or a user in it; copy the bot's webhook again")
    return Secret(text)


def parse_origin(text: str) -> str:
    """A browser origin, or ``*``."""
    if text == "*":
        return text
    url = _split(text, ("http", "https"), "https://app.example.com")
    if url.path or url.query or url.fragment or url.username is not None:
        raise ValueError("is no origin; write scheme and host only, such as https://app.example.com")
    return text.lower()


def parse_network(text: str) -> str:
    """An IP address or network."""
    try:
        return str(ipaddress.ip_network(text, strict=False)) if "/" in text else str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("is no address or network; write one such as 10.0.0.7 or 10.0.0.0/8") from None


def parse_store(text: str) -> str:
    """A store: ``memory:`` needs quotes for its colon in YAML, so that ``memory`` will do."""
    if text.startswith(("postgresql:", "postgres:")):
        return _parse_postgres(text)
    if text in {"memory:", "memory"}:
        return "memory:"
    scheme, _, path = text.partition(":")
    if scheme != "sqlite" or not path or not path.isprintable():
        raise ValueError(
            "is no store; write sqlite:PATH, such as sqlite:penstock.db, or postgresql://USER:PASSWORD@HOST/DATABASE, "
            "or memory"
        )
    if path.startswith(":"):
        raise ValueError("is no store on disk; write memory for one in memory")
    return text


def _parse_postgres(text: str) -> str:
    parts = urlsplit(text)
    if not (text.isprintable() and parts.hostname and parts.path.strip("/")):
        raise ValueError("names no database; write postgresql://USER:PASSWORD@HOST/DATABASE")
    return text


def parse_shared(text: str) -> str:
    """What nodes share."""
    scheme, _, rest = text.partition("://")
    name = scheme.removesuffix("+cluster")
    if name not in {"redis", "rediss", "valkey", "valkeys"} or not rest or not text.isprintable():
        raise ValueError("is no Redis; write redis://HOST:PORT/DB, or redis+cluster://HOST,HOST")
    return text


def parse_tag(text: str) -> str:
    """``tag=value``."""
    name, equals, value = text.partition("=")
    if not equals or not name or not value or name != name.strip() or value != value.strip():
        raise ValueError("is no tag; write tag=value, such as feature=search")
    return text


def origin(url: str) -> str:
    """Scheme, host and port of an http(s) URL: what a credential is bound to."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _split(text: str, schemes: tuple[str, ...], example: str) -> SplitResult:
    try:
        url = urlsplit(text)
        valid = url.scheme in schemes and url.hostname and url.port != 0
    except ValueError:
        valid = False
    if not valid or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"is no {' or '.join(schemes)} URL; write one such as {example}")
    return url
