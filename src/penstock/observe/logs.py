"""Logs: one JSON object per line on stderr; structlog's events and the standard library's records alike.

What must never be logged cannot be: a field passes only as a plain value, a field named like a credential or like user
text prints ``***``, text that looks like a key is cut out of every value, and an exception shows its type and where it
was raised, but its message only when it is one of ours or the operating system's (others quote the data they choke on).
A success logs nothing: the ledger row is the access log.
"""

import logging
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, MutableMapping
from decimal import Decimal
from functools import partial
from types import TracebackType
from typing import Any, Final, TextIO

import msgspec
import structlog
from structlog.typing import Processor

from penstock.config.settings import Address, Secret
from penstock.core.records import AttemptRow, ExchangeRow, LedgerRow
from penstock.errors import PenstockError

HIDDEN: Final = "***"
MAX_CHARS: Final = 4000
"""Longer values are cut."""
MAX_ITEMS: Final = 50
"""Likewise longer lists."""

_NAMED_LIKE_A_SECRET: Final = re.compile(
    r"auth|api_?key|^keys?$|secret|token$|passw|credential|cookie|pepper|bearer|signature"
    r"|prompt|messages?$|content|body|^raw|^input|^output|completion|^headers?$|^fields$|^text$|^query$",
    re.IGNORECASE,
)
_LOOKS_LIKE_A_SECRET: Final = re.compile(
    r"(?i:bearer|basic)\s+[\w.~+/=-]{6,}|\b(?:sk|pk|ak|ps|psk|key)[-_][\w-]{8,}|(?<=://)[^/@\s:]+:[^/@\s]+(?=@)"
)
_PLAIN: Final = (bool, int, float, Decimal, type(None))
_OURS: Final = frozenset({"event", "level", "time", "logger", "error", "row"})
"""Fields that this module makes itself."""

_encode = msgspec.json.Encoder(enc_hook=str).encode

Fields = MutableMapping[str, Any]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def configure_logs(stream: TextIO | None = None, level: int = logging.INFO, worker: int | None = None) -> None:
    """Send everything that is logged in this process to ``stream`` (default stderr), through the redactor.

    ``worker``: which of several this process is, on every line.
    """
    shared: list[Processor] = [
        _name_level,
        *([] if worker is None else [partial(_name_worker, worker)]),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _show_exception,
        redact,
    ]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _to_json],
            foreign_pre_chain=[_take_extra, *shared],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def ledger_rows_lost(rows: Iterable[LedgerRow], reason: str) -> None:
    """Print each row that the ledger gave up, whole, as one line: what was spent can be entered later from here."""
    log = structlog.stdlib.get_logger(__name__)
    for row in rows:
        log.error("ledger_row_lost", reason=reason, kind=_kind(row), row=msgspec.to_builtins(row))


def redact(_logger: object, _method: str, fields: Fields) -> Fields:
    """A structlog processor: nothing but plain values of harmless names, and no key inside a text."""
    return {name: value if name == "row" else _harmless(name, value) for name, value in fields.items()}


def _harmless(name: str, value: object) -> object:
    if name.startswith("_"):  # structlog's own, removed before the line is made
        return value
    if isinstance(value, Secret) or (name not in _OURS and _NAMED_LIKE_A_SECRET.search(name)):
        return HIDDEN
    if isinstance(value, str | Address):
        value = str(value)
        return _LOOKS_LIKE_A_SECRET.sub(HIDDEN, value[:MAX_CHARS])
    if isinstance(value, list | tuple | set | frozenset):
        return [_harmless("item", item) for item in list(value)[:MAX_ITEMS]]
    if name == "error" and isinstance(value, Mapping):
        return {part: _harmless("error", text) for part, text in value.items()}
    return value if isinstance(value, _PLAIN) else f"<{type(value).__name__}>"


def _kind(row: LedgerRow) -> str:
    if isinstance(row, ExchangeRow):
        return "exchange"
    return "attempt" if isinstance(row, AttemptRow) else "share"


def _name_level(_logger: object, method: str, fields: Fields) -> Fields:
    record = fields.get("_record")
    fields["level"] = record.levelname.lower() if isinstance(record, logging.LogRecord) else method
    if isinstance(record, logging.LogRecord):
        fields["logger"] = record.name
    return fields


def _name_worker(worker: int, _logger: object, _method: str, fields: Fields) -> Fields:
    fields["worker"] = worker
    return fields


_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


def _take_extra(_logger: object, _method: str, fields: Fields) -> Fields:
    """The ``extra`` of a standard record, as fields."""
    record = fields.get("_record")
    if isinstance(record, logging.LogRecord):
        fields.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        if record.exc_info:
            fields["exc_info"] = record.exc_info
    return fields


def _show_exception(_logger: object, method: str, fields: Fields) -> Fields:
    info = fields.pop("exc_info", None)
    if info is True or (info is None and method == "exception"):
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if isinstance(info, tuple) and info[1] is not None:
        fields["error"] = _describe(info)
    return fields


def _describe(info: ExcInfo) -> dict[str, object]:
    kind, error, trace = info
    described: dict[str, object] = {"type": f"{kind.__module__}.{kind.__qualname__}"}
    if isinstance(error, PenstockError):
        described |= {"kind": error.kind, "message": error.public, "detail": error.detail}
    elif isinstance(error, OSError):
        described["message"] = str(error)
    frames = traceback.extract_tb(trace)[-12:]
    described["at"] = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
    return described


def _to_json(_logger: object, _method: str, fields: Fields) -> str:
    first = {name: fields.pop(name, None) for name in ("time", "level", "event")}
    return _encode({**first, **fields}).decode()
