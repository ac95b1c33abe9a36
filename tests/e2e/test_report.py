"""The report in a real browser: it runs nothing, loads nothing, fits, and says what ``penstock spend`` says."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.clock import SystemClock
from penstock.ports.stores import Stores
from tests.support.chromium import Chromium, chromium
from tests.support.commands import Place, open_place
from tests.support.ledger_rows import exchange_row
from tests.support.month_of_spend import month_of_spend

pytestmark = pytest.mark.e2e

NASTY = "<script>document.title='owned'</script><img src=http://127.0.0.1:9/x onerror=alert(1)>\"'{{7*7}}"
DEAR = 10**13


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One for all of these tests."""
    with chromium(tmp_path_factory.mktemp("chromium")) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Place]:
    """A month of spend, in which the dearest model, key, team and tag have a name that is an attack."""

    async def fill(stores: Stores) -> None:
        now = SystemClock().now()
        for rows in month_of_spend(now):
            stores.ledger.append(rows)
        names = {"model": NASTY, "key_name": NASTY, "team": NASTY, "tags": {"feature": NASTY}}
        stores.ledger.append([exchange_row("ex_n", at=now - 9, **names, cost_nano=DEAR, baseline_nano=DEAR)])
        await stores.ledger.flush()

    with open_place(tmp_path, capsys) as made:
        made.with_stores(fill)
        yield made


def samples(picture: bytes) -> int:
    """How many different bytes its lines have: a blank one has next to none."""
    data, at = b"", 8
    while at < len(picture):
        (length,) = struct.unpack_from(">I", picture, at)
        if picture[at + 4 : at + 8] == b"IDAT":
            data += picture[at + 8 : at + 8 + length]
        at += 12 + length
    return len(set(zlib.decompress(data)))


def test_the_page_is_inert_and_says_what_spend_says(browser: Chromium, place: Place) -> None:
    """No script runs, nothing but the file is asked for, names are text, the sums are the ledger's."""
    page = place.directory / "report.html"
    total = place.json("report", "--html", str(page))["total"]
    spent = place.json("spend", "--by", "lever")["total"]
    browser.show(page.as_uri())
    assert browser.complaints == []
    assert browser.asked_for == [page.as_uri()]
    assert browser.evaluate("document.title").startswith("Penstock: ")
    assert browser.evaluate("document.querySelectorAll('script, img, iframe, link').length") == 0
    names = browser.evaluate("[...document.querySelectorAll('bdi')].map(e => e.textContent)")
    assert [names.count(NASTY), names.count(f"feature={NASTY}")] == [4, 1]
    shown = browser.evaluate("['cost', 'saved'].map(id => document.getElementById(id).dataset.exact)")
    assert shown == [total["cost"], total["saved"]]
    assert spent["requests"] == total["requests"]
    steps = browser.evaluate("[...document.querySelectorAll('.step')].map(e => e.dataset.exact.replace('.', ''))")
    *falling, cost = map(int, steps)
    assert sum(falling) == cost == int(total["cost"].replace(".", ""))


@pytest.mark.parametrize("width", [390, 1040])
@pytest.mark.parametrize(("scheme", "media"), [("light", "screen"), ("dark", "screen"), ("dark", "print")])
def test_it_can_be_seen(browser: Chromium, place: Place, width: int, scheme: str, media: str) -> None:
    """On a phone and on a desk, in light and dark, on paper: it fits, and is not blank."""
    page = place.directory / "report.html"
    place.run("report", "--html", str(page))
    browser.show(page.as_uri(), width=width, scheme=scheme, media=media)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    picture = browser.picture()
    assert samples(picture) > 100
    (place.directory / "report.png").write_bytes(picture)
    paper = browser.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    red = int(paper.removeprefix("rgb(").split(",")[0])
    assert (red < 64) == (scheme == "dark" and media == "screen")
