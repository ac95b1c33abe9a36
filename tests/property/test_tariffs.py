"""Tariffs at any instant: the remembered ones equal the looked-up ones, and the spans say the truth."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.config.prices import chinese_holidays, load_book
from penstock.core.pricebook import PriceBook
from penstock.core.pricing import Rates
from penstock.core.schedule import Schedule, Window
from penstock.errors import PriceError
from tests.support.instants import epoch

BOOK = load_book()
HOLIDAYS = chinese_holidays()
NAMES = [
    (model.book, name, currency)
    for model in BOOK.all
    for name in (model.name, *(alias.name for alias in model.aliases))
    for currency in ("CNY", "USD")
]
FIRST, LAST = epoch("2024-08-01T00:00Z"), epoch("2027-12-31T00:00Z")
EDGES = sorted({
    edge
    for model in BOOK.all
    for entries in model.entries.values()
    for entry in entries
    for edge in (entry.since, entry.until)
    if edge <= LAST
})  # fmt: skip
SHANGHAI = ZoneInfo("Asia/Shanghai")

anywhen = st.floats(FIRST, LAST) | st.builds(float.__add__, st.sampled_from(EDGES), st.floats(-2, 2))
prompts = st.integers(0, 300_000)


def answer(book: PriceBook, name: tuple[str, str, str], at: float, prompt: int) -> Rates | str:
    """The rates, or the refusal's own words."""
    try:
        return book.rates(*name, at, prompt)
    except PriceError as error:
        return error.public


@given(st.lists(st.tuples(st.sampled_from(NAMES), anywhen, prompts), min_size=2, max_size=12))
def test_a_remembered_tariff_is_the_looked_up_one(asked: list[tuple[tuple[str, str, str], float, int]]) -> None:
    """In whatever order, and however often, a book is asked: it answers like one that was never asked before."""
    remembering = PriceBook(BOOK.all)
    for name, at, prompt in asked:
        assert answer(remembering, name, at, prompt) == answer(PriceBook(BOOK.all), name, at, prompt)


@given(anywhen)
@example(epoch("2026-10-10T02:00Z"))
def test_deepseeks_peak_is_what_its_page_says(at: float) -> None:
    """Since the holiday clause: 01:00-04:00 and 06:00-10:00 UTC, Monday to Friday, not on Chinese public holidays.

    An oracle of another shape: by the UTC hour, as the English page puts it.
    """
    at = max(at, epoch("2026-09-22T00:00Z"))
    moment = datetime.fromtimestamp(at, UTC)
    holiday = moment.astimezone(SHANGHAI).date() in HOLIDAYS.get(moment.year, ())
    peak = moment.hour in {1, 2, 3, 6, 7, 8, 9} and moment.weekday() < 5 and not holiday
    assert BOOK.tariff("deepseek", "deepseek-flash", "CNY", at).name == ("peak" if peak else "off-peak")


zones = st.sampled_from(["Asia/Shanghai", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kathmandu"])
minutes = st.integers(0, 1439)
windows = st.lists(
    st.builds(Window, minutes, st.integers(1, 1440)).filter(lambda window: window.start != window.end),
    min_size=1,
    max_size=3,
)


def schedules() -> st.SearchStrategy[Schedule]:
    """Any windows in zones with and without clock changes."""
    days: st.SearchStrategy[Mapping[int, frozenset[date]]] = st.just({2026: frozenset({date(2026, 3, 8)})})
    return st.builds(
        Schedule,
        st.just("any"),
        zones.map(ZoneInfo),
        windows.map(tuple),
        st.booleans(),
        st.frozensets(st.integers(0, 6), min_size=1),
        st.none() | days,
    )


changes = st.sampled_from(["2026-03-08T07:00Z", "2026-11-01T06:00Z", "2026-03-29T01:00Z", "2026-04-04T15:00Z"]).map(
    epoch
)
instants = st.floats(epoch("2026-01-01T00:00Z"), epoch("2026-12-31T00:00Z")) | st.builds(
    float.__add__, changes, st.floats(-7200, 7200)
)


@given(schedules(), instants, st.floats(0, 1))
def test_a_span_holds_from_end_to_end(schedule: Schedule, at: float, share: float) -> None:
    """The instant lies in its span, and wherever one looks within it the tariff is the same, clock changes included."""
    span = schedule.span(at)
    assert span.since <= at < span.until
    inside = min(span.since + share * (span.until - span.since), span.until - 0.001)
    assert schedule.span(max(inside, span.since)).peak == span.peak


@settings(max_examples=40)
@given(schedules(), changes)
def test_the_spans_around_a_clock_change_hold_every_minute(schedule: Schedule, change: float) -> None:
    """Hours that are skipped or come twice: each span, walked minute by minute, is what it says."""
    at = change - 5400
    while at < change + 5400:
        span = schedule.span(at)
        inside = range(int(at // 60) + 1, min(int(span.until // 60), int(change // 60) + 90))
        assert all(schedule.span(minute * 60).peak == span.peak for minute in inside)
        at = span.until


@given(schedules(), instants)
def test_peak_and_off_peak_windows_are_opposites(schedule: Schedule, at: float) -> None:
    """The same windows read the other way round give the other tariff, holidays aside."""
    both = [
        Schedule("any", schedule.zone, schedule.windows, as_peak, schedule.weekdays, None).span(at).peak
        for as_peak in (True, False)
    ]
    assert both[0] != both[1]


@given(st.dates(date(2024, 1, 1), date(2026, 12, 31)))
def test_chinas_holidays_are_days_of_their_year(day: date) -> None:
    """The calendar has every year from the first price on, each day filed under its own year."""
    assert all(other.year == day.year for other in HOLIDAYS[day.year])
    assert date(day.year, 10, 1) in HOLIDAYS[day.year]
