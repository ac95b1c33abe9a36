"""A question to a provider that costs nothing: a GET below its chat base."""

from penstock.config.settings import ProviderSettings
from penstock.errors import ProviderTimeout
from penstock.ports.clock import Clock
from penstock.ports.providers import Transport, UpstreamCall
from penstock.providers.openai import CONNECT_TIMEOUT_S
from penstock.providers.refusals import MAX_BODY, refusal

TIMEOUT_S = 30.0
_OK = 200


async def ask(
    transport: Transport,
    provider: ProviderSettings,
    path: str,
    clock: Clock,
    *,
    most_bytes: int = MAX_BODY,
    timeout_s: float = TIMEOUT_S,
) -> bytes:
    """The body of its answer, of at most ``most_bytes``. Raises UpstreamError, which never tells the key."""
    deadline = clock.deadline()
    try:
        with deadline.until(clock.monotonic() + timeout_s):
            response = await transport.send(_call(provider, path))
            try:
                body = await response.read(most_bytes)
            finally:
                await response.close()
    except TimeoutError:
        raise ProviderTimeout(f"{provider.name} did not answer {path} within {timeout_s:.0f} s") from None
    finally:
        deadline.close()
    if response.status != _OK:
        raise refusal(response.status, response.headers, body)
    return body


def _call(provider: ProviderSettings, path: str) -> UpstreamCall:
    key, bases = provider.api_key, provider.base_urls
    headers = {"accept": "application/json"}
    if key is not None:
        headers["authorization"] = f"Bearer {key.reveal()}"
    return UpstreamCall(
        provider=provider,
        method="GET",
        url=f"{bases.get('chat') or next(iter(bases.values()))}{path}",
        headers=headers | {name: value.reveal() for name, value in provider.headers.items()},
        body=b"",
        stream=False,
        connect_timeout_s=CONNECT_TIMEOUT_S,
    )
