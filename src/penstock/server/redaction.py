"""The settings as they may be shown: no secret, no hash, no credential inside a URL."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Final

from penstock.config.settings import Address, Secret

HIDDEN: Final = "***"
_USERINFO: Final = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_NEVER_SHOWN: Final = frozenset({"key_sha256"})


def show(value: Any) -> Any:
    """``value`` as JSON types, secrets as ``***``."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Secret):
        return HIDDEN
    if dataclasses.is_dataclass(value) and not isinstance(value, type | Address):
        return {
            field.name: HIDDEN if field.name in _NEVER_SHOWN else show(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(name): show(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [show(item) for item in value]
    return _USERINFO.sub(HIDDEN, str(value))
