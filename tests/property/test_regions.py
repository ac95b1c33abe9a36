"""Regions: who comes first for whom, and no change of that without a reason that lasts."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.regions import BETTER, BETTER_FOR_S, MeasuredOrder, Networks, Recovery, rank_regions

names = st.sampled_from(["", "cn-north", "cn-south", "eu", "us"])
region_sets = st.frozensets(names, min_size=1)


@given(region_sets, st.lists(names, unique=True), names, region_sets)
def test_ranks_are_an_order(regions: frozenset[str], order: list[str], own: str, held: frozenset[str]) -> None:
    """Every region has a rank, from 0 without a gap; held ones are behind, then own, order, and the others alike."""
    ranks = rank_regions(regions, order, own, held)
    assert ranks.keys() == regions
    assert set(ranks.values()) == set(range(len(set(ranks.values()))))

    def expected(region: str) -> tuple[bool, bool, int]:
        listed = order.index(region) if region in order else len(order)
        return region in held, not (own and region == own), 0 if own and region == own else listed

    for one in regions:
        for other in regions:
            assert (ranks[one] < ranks[other]) == (expected(one) < expected(other))


def test_the_callers_own_region_comes_first() -> None:
    """Its own, then the order of the config; unordered ones share a rank; one that is held waits behind."""
    regions = ["a", "b", "c", "d"]
    assert rank_regions(regions, ["a", "b"]) == {"a": 0, "b": 1, "c": 2, "d": 2}
    assert rank_regions(regions, ["a", "b"], own="b") == {"b": 0, "a": 1, "c": 2, "d": 2}
    assert rank_regions(regions, ["a", "b"], own="b", held=["b"]) == {"a": 0, "c": 1, "d": 1, "b": 2}
    assert rank_regions(regions) == dict.fromkeys(regions, 0)


latencies = st.fixed_dictionaries({name: st.none() | st.floats(0.01, 1) for name in "abcd"})


@given(latencies, st.lists(st.floats(0, 3), max_size=12))
def test_a_measured_order_waits_for_its_reason(measured: dict[str, float | None], gaps: list[float]) -> None:
    """Nothing moves before someone was clearly better for so long; then nobody is, than one ahead."""
    order, now = MeasuredOrder("abcd"), 50.0
    for gap in gaps:
        was = now
        now += gap
        if now - 50 >= BETTER_FOR_S:
            now = was
            break
        assert order.update(measured, now) == tuple("abcd")
    order.update(measured, now)
    said = order.update(measured, now + BETTER_FOR_S)
    assert sorted(said) == list("abcd")
    known = [latency for latency in map(measured.__getitem__, said) if latency is not None]
    for place, latency in enumerate(known):
        assert all(latency > BETTER * ahead for ahead in known[:place])
    assert order.update(measured, now + 3 * BETTER_FOR_S) == said


def test_a_gain_that_does_not_last_changes_nothing() -> None:
    """Neither better now and again nor always a little better moves a region ahead."""
    order = MeasuredOrder(["a", "b"])
    for second in range(0, 200, 5):
        better = second % 15 < 10
        assert order.update({"a": 1.0, "b": 0.5 if better else 0.95}, second) == ("a", "b")
    for second in range(200, 300):
        assert order.update({"a": 1.0, "b": 0.85}, second) == ("a", "b")
    said = [order.update({"a": 1.0, "b": 0.79}, 300.0 + second) for second in range(12)]
    assert said == [("a", "b")] * 10 + [("b", "a")] * 2


def test_a_region_without_a_latency_keeps_its_place() -> None:
    """What was not measured is neither better nor worse."""
    order = MeasuredOrder(["a", "b", "c"])
    for now in (0, 11, 22):
        said = order.update({"a": 1.0, "b": None, "c": 0.1}, now)
    assert said == ("c", "a", "b")


events = st.lists(st.tuples(st.floats(0, 9), st.sampled_from("ab"), st.booleans()), max_size=30)


@given(events)
def test_a_region_that_was_out_is_held_until_it_was_well_for_long(seen: list[tuple[float, str, bool]]) -> None:
    """Held is who is out, and who was not well throughout the last seconds; who was never out is never held."""
    recovery, now, history = Recovery(well_for_s=10), 0.0, list[tuple[float, str, bool]]()
    for gap, region, up in seen:
        now += gap
        recovery.see(region, up=up, now=now)
        history.append((now, region, up))
        for each in "ab":
            own = [(at, well) for at, name, well in history if name == each]
            outs = [place for place, (_, well) in enumerate(own) if not well]
            since = own[outs[-1] + 1][0] if outs and outs[-1] + 1 < len(own) else None
            assert (each in recovery.held(now)) == (bool(outs) and (since is None or now - since < 10))


def test_a_region_comes_back_once() -> None:
    """Out, well, out again: the seconds begin anew."""
    recovery = Recovery(well_for_s=30)
    said = []
    for now, up in ((0, True), (1, False), (5, True), (34, True), (34.5, False), (40, True), (69, True), (70, True)):
        recovery.see("a", up=up, now=now)
        said.append("a" in recovery.held(now))
    assert said == [False, True, True, True, True, True, True, False]


addresses = st.ip_addresses(v=4, network="10.0.0.0/28") | st.ip_addresses(v=6, network="2001:db8::/124")


@given(st.dictionaries(st.tuples(addresses, st.integers(0, 6)), st.sampled_from(["x", "y", "z"])), addresses)
def test_the_smallest_network_counts(nets: dict[tuple[object, int], str], address: object) -> None:
    """An address belongs to the region of the longest prefix that holds it, as a list of networks would say."""
    regions = {
        str(ip_network(f"{base}/{ip_address(str(base)).max_prefixlen - bits}", strict=False)): region
        for (base, bits), region in nets.items()
    }
    holding = [net for net in map(ip_network, regions) if ip_address(str(address)) in net]
    expected = regions[str(max(holding, key=lambda net: net.prefixlen))] if holding else ""
    assert Networks(regions).region(str(address)) == expected


def test_addresses_of_all_kinds() -> None:
    """IPv4 within IPv6 is IPv4; the default route takes the rest of its version; what is no address is nowhere."""
    networks = Networks({"10.0.0.0/8": "dc", "10.1.0.0/16": "lab", "0.0.0.0/0": "world", "::1/128": "here"})
    given_ = ["10.2.3.4", "10.1.3.4", "::ffff:10.1.0.1", "8.8.8.8", "::1", "::2", "fe80::1%eth0", "unix", ""]
    assert [networks.region(each) for each in given_] == ["dc", "lab", "lab", "world", "here", "", "", "", ""]
    assert Networks({}).region("10.0.0.1") == ""


@pytest.mark.parametrize("text", ["10.0.0.1/8", "nowhere", "10.0.0.0/33", ""])
def test_what_is_no_network_is_refused(text: str) -> None:
    """A network with host bits, or none at all, raises ValueError by name."""
    with pytest.raises(ValueError, match=text or "''"):
        Networks({text: "x"})
