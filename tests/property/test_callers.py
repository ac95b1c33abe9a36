"""Forwarded addresses: nobody but a trusted proxy has a say, whatever the header holds."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.server.callers import Callers

TRUSTED = ["10.0.0.1", "10.0.0.2", "10.1.0.0"]
STRANGERS = ["198.51.100.1", "203.0.113.9", "2001:db8::1"]
callers = Callers(["10.0.0.0/8"])

addresses = st.sampled_from([*TRUSTED, *STRANGERS])
words = addresses | st.sampled_from(["", "unknown", "10.0.0.1:80", "[::1]"]) | st.text(max_size=6)
headers = st.lists(words, max_size=5).map(lambda hops: ", ".join(hops).encode("utf-8"))
peers = st.sampled_from([*TRUSTED, *STRANGERS, ""])


@given(peers, headers | st.binary(max_size=40) | st.none())
def test_it_is_the_peer_or_one_of_the_hops(peer: str, forwarded: bytes | None) -> None:
    """Never anything else, and for a stranger always itself."""
    told = callers.address(peer, forwarded)
    hops = [hop.strip() for hop in (forwarded or b"").decode("latin-1").split(",")]
    assert told in {peer, *hops}
    if peer not in TRUSTED:
        assert told == peer


@given(st.sampled_from(TRUSTED), headers, st.sampled_from(STRANGERS), st.lists(st.sampled_from(TRUSTED), max_size=3))
def test_what_the_caller_wrote_itself_changes_nothing(
    peer: str, written: bytes, caller: str, proxies: list[str]
) -> None:
    """Trusted proxies append to the right: to the left of whom they met stands what anybody may invent."""
    met = ", ".join([caller, *proxies]).encode()
    assert callers.address(peer, met) == caller
    assert callers.address(peer, written + b", " + met) == caller
