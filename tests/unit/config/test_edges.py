"""``kind: penstock`` and ``server.edges``: what the file may say, what it means, and what a centre's offer adds."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from penstock.config.load import load
from penstock.config.offered import offered_prices, read_offered_prices, with_offers, with_prices
from penstock.config.prices import load_book, price_texts
from penstock.config.settings import Settings
from penstock.core.offer import Offer, Offered
from penstock.core.usage import Usage
from penstock.errors import ConfigError
from penstock.pipeline.accounts import AT_THE_CENTRE, Accounts
from penstock.providers.registry import KINDS

CENTRE = "centre: {kind: penstock, base_url: 'https://centre.example/v1', api_key: psk-1}"
AT = 1_795_000_000.0
USAGE = Usage(input_miss=1000, output=500)


def loaded(text: str, directory: Path) -> Settings:
    """The settings of a file, with the real kinds."""
    path = directory / "penstock.yaml"
    path.write_text(text, "utf-8")
    return load(path, {}, registry=KINDS)


def mistakes(text: str, directory: Path) -> str:
    """What is wrong with one."""
    with pytest.raises(ConfigError) as caught:
        loaded(text, directory)
    return "\n".join(caught.value.mistakes)


def test_an_edge_needs_no_more_than_its_centre(tmp_path: Path) -> None:
    """Every dialect at one base, charged there, followed every five minutes; its models come with the offer."""
    settings = loaded(f"providers: {{{CENTRE}}}", tmp_path)
    centre = settings.providers["centre"]
    assert set(centre.base_urls) == {"chat", "completions", "embeddings", "messages"}
    assert (centre.charged_elsewhere, centre.sync_s, centre.after_disconnect, centre.private) == (
        True,
        300,
        "stops",
        False,
    )
    assert (settings.models, settings.takes_models, settings.simulated, settings.warnings) == ({}, True, False, ())


def test_what_an_edges_file_may_not_say(tmp_path: Path) -> None:
    """No key, no URL, a ``sync`` of something that is no centre, an edge whose name would not be told apart."""
    assert "providers.c.base_url: is missing" in mistakes("providers: {c: {kind: penstock, api_key: k}}", tmp_path)
    keyless = "providers: {c: {kind: penstock, base_url: 'https://centre.example/v1'}}"
    assert "providers.c.api_key: is missing; create a key at the centre" in mistakes(keyless, tmp_path)
    other = "providers: {v: {kind: vllm, sync: 1m}}\nmodels: {m: {deployments: [{provider: v}]}}"
    assert "providers.v.sync: is for `kind: penstock`" in mistakes(other, tmp_path)
    assert "server.edges[0]: has a `/`" in mistakes("server: {edges: [a/b]}", tmp_path)


def test_an_offer_adds_its_models_and_takes_none_away(tmp_path: Path) -> None:
    """What is served already stays as it is; two centres with one model both serve it; a file's own list is final."""
    two = f"providers: {{{CENTRE}, second: {{kind: penstock, base_url: 'https://b.example/v1', api_key: psk-2}}}}"
    settings = loaded(two, tmp_path)
    offers = {
        "centre": Offer(models=(Offered(name="m", default_output=99),), prices={}),
        "second": Offer(models=(Offered(name="m"), Offered(name="n")), prices={}),
        "gone": Offer(models=(Offered(name="x"),), prices={}),
    }
    served = with_offers(settings, offers).models
    assert {name: [each.id for each in model.deployments] for name, model in served.items()} == {
        "m": ["centre/m", "second/m"],
        "n": ["second/n"],
    }
    assert (served["m"].default_output, served["m"].baseline) == (99, served["m"].deployments[0])
    written = loaded(two + "\nmodels: {m: {deployments: [{provider: centre}]}}", tmp_path)
    assert with_offers(written, offers) is written


def test_what_a_centre_is_charged_costs_nothing_and_is_worth_its_price(tmp_path: Path) -> None:
    """By its own flat prices, or the list and name that it says; by the file's, where that says any."""
    settings = with_offers(loaded(f"providers: {{{CENTRE}}}", tmp_path), {})
    offer = Offer(
        models=(
            Offered(name="flat", flat=(Decimal(2), Decimal(1), Decimal(8), None), currency="CNY"),
            Offered(name="quick", book="deepseek", priced_as="deepseek-flash", currency="CNY"),
            Offered(name="unpriced"),
        ),
        prices=price_texts(),
    )
    served = with_offers(settings, {"centre": offer}).models
    book = load_book()
    accounts = Accounts(book, "CNY", {}, offered_prices({"centre": offer}))
    flat, quick, unpriced = (served[name].deployments[0] for name in ("flat", "quick", "unpriced"))
    for each in (flat, quick, unpriced):
        charged, held = accounts.charge(each, USAGE, AT), accounts.quote(each, 1000, AT, AT + 900)
        assert charged is not None
        assert held is not None
        assert (charged[0].book_nano, charged[1], held.nano(1000, 1000)) == (0, AT_THE_CENTRE, 0)
    worth = {each.model: accounts.worth(each, USAGE, AT) for each in (flat, quick, unpriced)}
    assert worth["flat"] is not None
    assert worth["flat"][0].book_nano == 1000 * 2000 + 500 * 8000
    rates = book.rates("deepseek", "deepseek-flash", "CNY", AT, 1000)
    assert worth["quick"] is not None
    assert worth["quick"][0].book_nano == round((1000 * rates.input_miss + 500 * rates.output) / 10**6)
    assert worth["unpriced"] is None
    own = replace(quick, provider=replace(quick.provider, price_book="sim"))
    assert accounts.worth(own, USAGE, AT) is None, "the file's word comes before the centre's"


def test_price_lists_of_a_centre_replace_ours_of_the_same_name() -> None:
    """All of such a list, and no other; a wrong one is refused with its place."""
    texts = {"deepseek": price_texts()["deepseek"]}
    book = with_prices(load_book(), read_offered_prices(Offer(models=(), prices=texts)))
    assert {each.book for each in book.all} == {each.book for each in load_book().all}
    assert book.models("deepseek") == load_book().models("deepseek")
    with pytest.raises(ConfigError, match=r"deepseek\.yaml:2: models"):
        read_offered_prices(Offer(models=(), prices={"deepseek": "provider: other\nmodels: {}"}))
