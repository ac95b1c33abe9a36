"""What is served at which prices: the config's models and our lists, and those that centres offer."""

from collections.abc import Mapping

from penstock.config.offered import with_offers, with_prices
from penstock.config.settings import Settings
from penstock.core.offer import Offer
from penstock.core.pricebook import PriceBook, PricedModel


class Catalogue:
    """``settings`` and ``book`` are what holds now."""

    def __init__(self, settings: Settings, book: PriceBook) -> None:
        """``book``: our own lists."""
        self.settings = settings
        self.book = book
        self.offers: Mapping[str, Offer] = {}
        """Of our centres, by provider."""
        self._written = settings
        """As the config has them, without what centres offer."""
        self._own_book = book
        self._offered_lists: dict[str, list[PricedModel]] = {}

    def adopt(self, settings: Settings) -> None:
        """Go by these from now on, and by what the centres that they name have offered."""
        self._written, self.book = settings, self._priced_by(settings)
        self.settings = with_offers(settings, self.offers)

    def take(self, provider: str, offer: Offer, lists: list[PricedModel]) -> None:
        """Serve the models of an offer, and price by its lists."""
        self._offered_lists[provider] = lists
        self.offers = {**self.offers, provider: offer}
        self.adopt(self._written)

    def _priced_by(self, settings: Settings) -> PriceBook:
        """Our lists, and in their place those of the centres that these settings name."""
        book = self._own_book
        for name in reversed([*settings.providers]):  # the first of several has the last word
            book = with_prices(book, self._offered_lists.get(name, []))
        return book
