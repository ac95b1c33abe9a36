"""What an account holds, where its provider says it: ``GET {base}{balance_path}``. It costs nothing.

The answer's form is DeepSeek's (https://api-docs.deepseek.com/api/get-user-balance): ``balance_infos``, a balance per
currency, amounts as decimal strings.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from penstock.config.settings import ProviderSettings
from penstock.core.money import is_currency, parse_decimal, to_nano
from penstock.core.reconcile import Balance
from penstock.errors import BadAnswer
from penstock.ports.clock import Clock
from penstock.ports.providers import Transport
from penstock.providers.ask import ask

_OK: Final = 200


class _Info(msgspec.Struct):
    currency: str
    total_balance: str
    granted_balance: str = "0"
    topped_up_balance: str = "0"


class _Answer(msgspec.Struct):
    balance_infos: list[_Info]


_decode = msgspec.json.Decoder(_Answer).decode


async def ask_balance(transport: Transport, provider: ProviderSettings, path: str, clock: Clock) -> Sequence[Balance]:
    """The balances of ``provider``'s account now, by currency. Raises UpstreamError, which never tells the key."""
    body = await ask(transport, provider, path, clock)
    return read_balance(provider.name, body, clock.now())


def read_balance(provider: str, body: bytes, at: float) -> Sequence[Balance]:
    """The answer's balances. Raises BadAnswer."""
    try:
        infos = _decode(body).balance_infos
        balances = [_balance(provider, info, at) for info in infos]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise BadAnswer(f"{provider} did not answer with a balance", detail=str(error), status=_OK) from None
    if not balances or len({each.currency for each in balances}) < len(balances):
        raise BadAnswer(f"{provider} did not answer with one balance per currency", status=_OK)
    return balances


def _balance(provider: str, info: _Info, at: float) -> Balance:
    """Raises ValueError."""
    if not is_currency(info.currency):
        raise ValueError(f"{info.currency!r} is no currency")
    amounts = (info.total_balance, info.granted_balance, info.topped_up_balance)
    total, granted, topped_up = (to_nano(parse_decimal(amount)) for amount in amounts)
    return Balance(provider, info.currency, at, total, granted, topped_up)
