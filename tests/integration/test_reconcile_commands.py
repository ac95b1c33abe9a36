"""``penstock spend reconcile``: against a bill, against a balance, and with prices that came late."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.core.records import LedgerRow
from penstock.core.usage import Usage
from penstock.ports.stores import Stores
from penstock.stores.lock import StoreLock
from tests.support.commands import Place
from tests.support.ledger_rows import attempt_row, exchange_row, share_row

KEY = "sk-0123456789abcdef"
CONFIG = f"""fx: {{USD: 7.1}}
providers:
  deepseek: {{kind: deepseek, api_key: {KEY}}}
  own: {{kind: vllm}}
models:
  flash: {{deployments: [{{provider: deepseek, model: deepseek-flash}}, {{provider: own, model: qwen}}]}}
"""
NOON = datetime(2026, 11, 1, 4, tzinfo=UTC).timestamp()
"""2026-11-01T12:00+08:00, a Sunday: off-peak."""
DAY_S = 86_400.0
USED = Usage(1000, 0, 0, 500, 0)
USED_NANO = 3_000_000
"""1000 tokens at 1 CNY and 500 at 4 CNY per million."""


def call(number: int, at: float, nano: int | None, **fields: Any) -> list[LedgerRow]:
    """An exchange and its only call, at an instant, for that charge."""
    id_, attempt = f"ex_{number}", f"at_{number}"
    filled = {"deployment": "deepseek/deepseek-flash", "usage": USED, "currency": "CNY", **fields}
    rows: list[LedgerRow] = [
        exchange_row(id_, at=at, usage=filled["usage"], attempts=1, cost_nano=nano, baseline_nano=nano),
        attempt_row(
            attempt, id_, started_at=at, ended_at=at + 1, charged_nano=nano,
            **{"charged_book_nano": nano, "held_tokens": 9000, **filled},
        ),
    ]  # fmt: skip
    return rows if nano is None else [*rows, share_row(attempt, id_, nano)]


def keep(place: Place, *rows: LedgerRow) -> None:
    """In the ledger, as a server would have written it."""

    async def act(stores: Stores) -> None:
        stores.ledger.append(rows)
        await stores.ledger.flush()

    place.with_stores(act)


def rows_of(place: Place, exchange: str) -> dict[str, dict[str, Any]]:
    """What ``spend show`` says of it, by the kind of row."""
    return {row["row"]: row for row in place.json("spend", "show", exchange)["rows"]}


@pytest.fixture
def spent(place: Place) -> Place:
    """Three calls on two days in Beijing, one of them an estimate, one without a price."""
    config = place.directory / "penstock.yaml"
    config.write_text(config.read_text() + CONFIG)
    keep(
        place,
        *call(1, NOON, 1_000_000_001),
        *call(2, NOON + 1, 500_000_000, estimated=True),
        *call(3, NOON + DAY_S, 3),
        *call(4, NOON + DAY_S, None),
    )
    return place


def bill(place: Place, *lines: str, name: str = "cost.csv") -> str:
    """DeepSeek's cost file with these lines; its path."""
    head = "user_id,start_time_iso,end_time_iso,model,wallet_type,cost,currency"
    path = place.directory / name
    path.write_text("\ufeff" + "\r\n".join([head, *lines, ""]))
    return str(path)


def line(day: int, cost: str, model: str = "deepseek-v4-flash", currency: str = "CNY") -> str:
    """One day of November."""
    times = f"2026-11-{day:02}T00:00:00+08:00,2026-11-{day + 1:02}T00:00:00+08:00"
    return f"u,{times},{model},Paid,{cost},{currency}"


# --- against a bill


def test_a_bill_is_compared_per_day_and_model(spent: Place) -> None:
    """Exactly: both sides, drift, the estimated part, calls without a price; an alias is the model that it was."""
    path = bill(spent, line(1, "1.500000001"), line(2, "0.0000000125"), line(2, "0.25", "deepseek-v4-pro"))
    answer = spent.json("spend", "reconcile", "--bill", path)
    names = ("date", "model", "calls", "ledger", "billed", "drift", "drift_percent", "estimated", "unpriced")
    assert [tuple(row[name] for name in names) for row in answer["rows"]] == [
        ("2026-11-01", "deepseek-flash", 2, "1.500000001", "1.500000001", "0.000000000", "0.00", "0.500000000", 0),
        ("2026-11-02", "deepseek-flash", 2, "0.000000003", "0.000000012", "0.000000009", "75.00", "0.000000000", 1),
        ("2026-11-02", "deepseek-v4-pro", 0, "0.000000000", "0.250000000", "0.250000000", "100.00", "0.000000000", 0),
    ]
    assert (answer["total"]["drift"], answer["total"]["currency"]) == ("0.250000009", "CNY")
    assert "1 calls have no price and are not in the ledger's amounts: see --rerate" in spent.errors


def test_the_span_can_be_narrowed_to_whole_days(spent: Place) -> None:
    """From midnight of the bill's zone, whatever the hour that is asked for."""
    path = bill(spent, line(1, "1"), line(2, "2"))
    options = ("spend", "reconcile", "--bill", path)
    assert [row["date"] for row in spent.json(*options, "--since", "2026-11-02")["rows"]] == ["2026-11-02"]
    assert [row["date"] for row in spent.json(*options, "--until", "2026-11-02")["rows"]] == ["2026-11-01"]
    assert [row["date"] for row in spent.json(*options, "--since", "2026-11-01T09:00")["rows"]] == ["2026-11-02"]
    assert len(spent.json(*options, "--since", "all", "--until", "now")["rows"]) == 2


def test_a_bill_in_another_currency_is_compared_in_it(spent: Place) -> None:
    """Through the book currency, and it is said."""
    path = bill(spent, line(1, "0.2", currency="USD"))
    (row,) = spent.json("spend", "reconcile", "--bill", path)["rows"]
    assert (row["ledger"], row["currency"]) == ("0.211267606", "USD")
    assert "calls charged in CNY were converted to USD" in spent.errors


def test_a_bill_in_two_currencies_needs_one(spent: Place) -> None:
    """They have no sum."""
    path = bill(spent, line(1, "1"), line(1, "0.2", currency="USD"))
    spent.run("spend", "reconcile", "--bill", path, code=2)
    assert "has lines in CNY and USD, which have no sum: say --currency CNY" in spent.errors
    (row,) = spent.json("spend", "reconcile", "--bill", path, "--currency", "CNY")["rows"]
    assert (row["billed"], row["ledger"]) == ("1.000000000", "1.500000001")
    spent.run("spend", "reconcile", "--bill", path, "--currency", "EUR", code=2)
    assert "has no line in EUR: it has CNY, USD" in spent.errors


def test_any_bill_is_compared_by_its_columns(spent: Place) -> None:
    """In its own zone; names of models can be told; the table and CSV have the same figures."""
    path = spent.directory / "any.csv"
    path.write_text("Tag;Posten;Betrag\n2026-11-01;Flash (Neu);1,500.5\n")
    options = ["spend", "reconcile", "--bill", str(path), "--provider", "deepseek", "--timezone", "Asia/Shanghai"]
    options += ["--columns", "date=Tag,model=Posten,amount=Betrag", "--rename", "flash (neu)=deepseek-flash"]
    (row,) = spent.json(*options)["rows"]
    assert (row["model"], row["ledger"], row["billed"]) == ("deepseek-flash", "1.500000001", "1500.500000000")
    assert "1498.999999999" in spent.run(*options)
    assert spent.run(*options, "--format", "csv").splitlines()[1].startswith("2026-11-01,deepseek-flash,2,1.500000001,")


def test_a_bill_without_models_is_compared_per_day(spent: Place) -> None:
    """One row a day."""
    path = spent.directory / "any.csv"
    path.write_text("Day,Cost\n2026-11-01,1\n2026-11-02,1\n")
    options = ("--columns", "date=Day,amount=Cost", "--provider", "deepseek")
    rows = spent.json("spend", "reconcile", "--bill", str(path), *options)["rows"]
    assert [(row["date"], row["model"], row["calls"]) for row in rows] == [("2026-11-01", "", 2), ("2026-11-02", "", 2)]


def test_what_cannot_be_compared_is_said_and_why(spent: Place) -> None:
    """Exit code 2, with the remedy."""
    other = bill(spent, "u,2027-01-01T00:00:00+08:00,x,m,Paid,1,CNY")
    bad = bill(spent, line(1, "1"), line(2, "many"), name="bad.csv")
    good = bill(spent, line(1, "1"), name="good.csv")
    cases = [
        ((), "one of --bill FILE, --balance and --rerate"),
        (("--bill", good, "--balance"), "one of --bill FILE, --balance and --rerate"),
        (("--balance", "--timezone", "UTC"), "--timezone does not go with --balance"),
        (("--bill", good, "--topped-up", "1"), "--topped-up does not go with --bill"),
        (("--bill", "nowhere.csv"), "nowhere.csv cannot be read: No such file"),
        (("--bill", bad), f"{bad}:3: cost: 'many' is no amount; write a plain number"),
        (
            ("--bill", other),
            "the bill is of 2027-01-01 to 2027-01-01, the ledger's calls to deepseek are of 2026-11-01",
        ),
        (("--bill", good, "--provider", "own"), "the ledger has no call to own: is it another provider's?"),
        (("--bill", good, "--provider", "none"), "no provider 'none': it has deepseek, own"),
        (("--bill", good, "--since", "2026-11-05", "--until", "2026-11-06"), "nothing is left to compare"),
        (("--bill", good, "--since", "2026-11-06"), "no day begins at 2026-11-06 or later"),
        (("--bill", good, "--since", "lately"), "'lately' is no time"),
        (("--bill", good, "--timezone", "Mars"), "there is no time zone 'Mars'"),
        (("--bill", good, "--currency", "yuan"), "is no currency"),
        (("--bill", good, "--columns", "cost"), "write ROLE=HEADING"),
        (("--bill", good, "--rename", "x"), "write the name on the bill and the model"),
    ]
    for options, said in cases:
        spent.run("spend", "reconcile", *options, code=2)
        assert said in " ".join(spent.errors.split()), options


# --- against a balance


@dataclass
class Account:
    """An account at a provider that tells its balance."""

    total: str = "100.00"
    granted: str = "0.00"
    status: int = 200
    body: bytes | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def answer(self) -> bytes:
        """As DeepSeek tells it."""
        topped_up = float(self.total) - float(self.granted)
        return (
            f'{{"is_available": true, "balance_infos": [{{"currency": "CNY", "total_balance": "{self.total}", '
            f'"granted_balance": "{self.granted}", "topped_up_balance": "{topped_up:.2f}"}}]}}'
        ).encode()


@contextmanager
def served(account: Account) -> Iterator[int]:
    """On loopback; the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            account.asked.append((self.path, self.headers["authorization"]))
            body = account.answer if account.body is None else account.body
            self.send_response(account.status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Quietly."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield listening.server_port
        listening.shutdown()
        thread.join()


@pytest.fixture
def account(spent: Place) -> Iterator[Account]:
    """Whose provider is in the config."""
    made = Account()
    with served(made) as port:
        config = spent.directory / "penstock.yaml"
        where = f"kind: deepseek, base_url: http://127.0.0.1:{port}, api_key"
        config.write_text(config.read_text().replace("kind: deepseek, api_key", where))
        yield made


def asked(place: Place, *options: str) -> dict[str, Any]:
    """The row of the only currency."""
    (row,) = place.json("spend", "reconcile", "--balance", *options)["rows"]
    found: dict[str, Any] = row
    return found


def since_now(place: Place, number: int, nano: int) -> None:
    """A call that ends after what is asked next, and before what is asked then."""
    at = datetime.now(UTC).timestamp() - 1
    keep(place, *call(number, at, nano))


def test_the_first_balance_is_kept_and_the_next_compared(spent: Place, account: Account) -> None:
    """What the balance lost is what was spent; the ledger's part is exact; the key goes to the provider alone."""
    first = asked(spent)
    assert (first["balance"], first["before"], first["drift"]) == ("100.000000000", None, None)
    assert "the first balance of deepseek in CNY is kept" in spent.errors
    since_now(spent, 10, 1_230_000_000)
    account.total = "98.75"
    row = asked(spent)
    names = ("before", "balance", "change", "topped_up", "spent", "ledger", "drift", "drift_percent")
    assert tuple(row[name] for name in names) == (
        "100.000000000", "98.750000000", "-1.250000000", "0.000000000", "1.250000000", "1.230000000", "0.020000000",
        "1.60",
    )  # fmt: skip
    assert row["since"] == first["until"]
    assert account.asked == [("/user/balance", f"Bearer {KEY}")] * 2
    assert KEY not in str(row)
    assert asked(spent)["change"] == "0.000000000"


def test_what_was_paid_in_is_no_drift(spent: Place, account: Account) -> None:
    """A rise is shown as one; how much of it was spent again is known when it is told what was paid in."""
    asked(spent)
    since_now(spent, 10, 1_000_000_000)
    account.total = "199.00"
    row = asked(spent)
    assert (row["topped_up"], row["spent"], row["drift"]) == ("100.000000000", None, None)
    assert "rose: something was paid in, by the ledger 100.000000000" in spent.errors
    since_now(spent, 11, 1_000_000_000)
    account.total = "297.50"
    row = asked(spent, "--topped-up", "100 CNY")
    assert (row["topped_up"], row["spent"], row["drift"]) == ("100.000000000", "1.500000000", "0.500000000")
    spent.run("spend", "reconcile", "--balance", "--topped-up", "5 USD", code=2)
    assert "there is no earlier balance in USD" in spent.errors


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, f'{{"error": {{"message": "bad key {KEY}"}}}}', "accept the gateway's account: status 401: bad key ***"),
        (500, "", "overloaded"),
        (200, "<html>", "did not answer with a balance"),
        (302, "", "answered with status 302"),
    ],
)  # fmt: skip
def test_a_providers_refusal_is_explained(spent: Place, account: Account, status: int, body: str, said: str) -> None:
    """Exit code 1; nothing is kept, and the key is not told even where the provider repeats it."""
    account.status, account.body = status, body.encode()
    spent.run("spend", "reconcile", "--balance", code=1)
    assert said in spent.errors
    assert "nothing was kept" in spent.errors
    assert KEY not in spent.errors
    account.status, account.body = 200, None
    assert asked(spent)["before"] is None


def test_only_kinds_that_tell_a_balance_are_asked(spent: Place) -> None:
    """Which those are is said."""
    spent.run("spend", "reconcile", "--balance", "--provider", "own", code=2)
    assert "providers of kind vllm tell no balance: those of kind deepseek do" in spent.errors


# --- prices that came late


def test_late_prices_are_shown_then_written(spent: Place) -> None:
    """Nothing without --yes; then the charge, its share, the cost and the baseline, and nothing that had a price."""
    before = rows_of(spent, "ex_3")
    answer = spent.json("spend", "reconcile", "--rerate")
    assert answer["rows"] == [
        {
            "deployment": "deepseek/deepseek-flash", "calls": 1, "amount": "0.003000000", "currency": "CNY",
            "still_unpriced": 0, "why": "",
        }
    ]  # fmt: skip
    assert "nothing was written" in spent.errors
    assert rows_of(spent, "ex_4")["attempt"]["charged_nano"] is None
    assert spent.json("spend", "reconcile", "--rerate", "--yes") == answer
    assert "1 requests were written" in spent.errors
    now = rows_of(spent, "ex_4")
    assert (now["exchange"]["cost_nano"], now["exchange"]["baseline_nano"]) == (USED_NANO, USED_NANO)
    attempt, share = now["attempt"], now["share"]
    assert (attempt["charged_nano"], attempt["charged_book_nano"], attempt["currency"]) == (USED_NANO, USED_NANO, "CNY")
    assert attempt["price_source"].startswith("deepseek/deepseek-flash from")
    assert (share["amount_nano"], share["lever"]) == (USED_NANO, "direct")
    assert rows_of(spent, "ex_3") == before
    assert spent.json("spend", "reconcile", "--rerate", "--yes")["rows"] == []
    assert "nothing is to be changed" in spent.errors


def test_budgets_and_spend_take_the_late_prices_up(spent: Place) -> None:
    """What they say is the ledger's sum."""
    config = spent.directory / "penstock.yaml"
    config.write_text(config.read_text() + "budgets: [{name: all, limit: 9 CNY, window: total}]\n")
    (before,) = spent.json("budgets", "show")["rows"]
    spent.run("spend", "reconcile", "--rerate", "--yes")
    (after,) = spent.json("budgets", "show")["rows"]
    assert (before["used"], after["used"]) == ("1.500000004", "1.503000004")
    total = spent.json("spend", "--since", "all")["total"]
    assert (total["cost"], total["unpriced"]) == ("1.503000004", 0)


def test_the_tariff_is_that_of_the_call(spent: Place) -> None:
    """A call at peak hours is priced at peak, whatever the hour now: Monday 10:00 in Beijing."""
    keep(spent, *call(5, NOON + DAY_S - 2 * 3600, None))
    spent.run("spend", "reconcile", "--rerate", "--yes")
    assert rows_of(spent, "ex_5")["attempt"]["charged_nano"] == 2 * USED_NANO


def test_what_still_has_no_price_is_named(spent: Place) -> None:
    """With the reason, and it stays as it is."""
    keep(
        spent,
        *call(5, NOON, None, deployment="own/qwen", provider="own"),
        *call(6, NOON, None, deployment="gone/m", provider="gone"),
    )
    rows = spent.json("spend", "reconcile", "--rerate")["rows"]
    assert [(row["deployment"], row["calls"], row["still_unpriced"]) for row in rows] == [
        ("deepseek/deepseek-flash", 1, 0), ("gone/m", 0, 1), ("own/qwen", 0, 1),
    ]  # fmt: skip
    assert rows[1]["why"] == "the config has no provider 'gone' any more"
    assert rows[2]["why"].startswith("no price covers")
    spent.run("spend", "reconcile", "--rerate", "--yes")
    assert rows_of(spent, "ex_5")["exchange"]["cost_nano"] is None


def test_nothing_is_rerated_while_a_server_has_the_store(spent: Place) -> None:
    """Its budgets would not know: looking is allowed, writing is refused."""
    lock = StoreLock(spent.directory / "penstock.db")
    assert spent.json("spend", "reconcile", "--rerate")["total"]["calls"] == 1
    spent.run("spend", "reconcile", "--rerate", "--yes", code=1)
    lock.release()
    assert "is in use by another server" in spent.errors
    assert rows_of(spent, "ex_4")["attempt"]["charged_nano"] is None


def test_a_ledger_in_another_currency_is_not_touched(spent: Place) -> None:
    """Amounts of the config's currency have no place in it."""
    config = spent.directory / "penstock.yaml"
    config.write_text(config.read_text().replace("currency: CNY", "currency: USD").replace("USD: 7.1", "CNY: 0.14"))
    spent.run("spend", "reconcile", "--rerate", code=2)
    assert "the ledger is kept in CNY, the config's currency is USD" in spent.errors
