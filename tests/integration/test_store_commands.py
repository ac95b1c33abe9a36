"""``penstock spend``, ``keys`` and ``cache``: on the store alone, and through a server that runs."""

import hashlib
import hmac
import re
from typing import Any

import msgspec
import pytest

from penstock.cli.main import run
from penstock.clock import SystemClock
from penstock.core.usage import Usage
from penstock.ports.answers import StoredAnswer
from penstock.ports.keys import KeyRecord
from penstock.ports.stores import Stores
from tests.support.commands import Place, Server
from tests.support.ledger_rows import attempt_row, exchange_row, share_row


async def a_day_of_traffic(stores: Stores) -> None:
    """A priced request, a hit of it, and a failure that cost something."""
    now = SystemClock().now()
    usage = Usage(100, 0, 0, 50, 0)
    common: dict[str, Any] = {"at": now - 60, "usage": usage, "tags": {"env": "prod"}}
    stores.ledger.append(
        [
            exchange_row("ex_1", cost_nano=123_456_789, baseline_nano=123_456_789, attempts=1, **common),
            attempt_row("at_1", "ex_1", charged_book_nano=123_456_789),
            share_row("at_1", "ex_1", 123_456_789),
        ]
    )
    stores.ledger.append(
        [
            exchange_row("ex_2", cost_nano=0, baseline_nano=123_456_789, cache="exact", **common),
            share_row("at_1", "ex_2", 0, "exact"),
        ]
    )
    stores.ledger.append(
        [
            exchange_row(
                "ex_3", at=now - 60, model="pro", cost_nano=5, baseline_nano=0, outcome="provider_busy", status=503
            ),
            attempt_row("at_3", "ex_3", outcome="provider_busy", charged_book_nano=5),
            share_row("at_3", "ex_3", 5),
        ]
    )
    stores.ledger.append([exchange_row("ex_4", at=now - 86_400 * 40, cost_nano=10**9, baseline_nano=10**9)])
    await stores.ledger.flush()


def test_spend_prints_rows_and_total(place: Place) -> None:
    """Grouped, dearest first, amounts exact to the nano-unit; older than ``--since`` is left out."""
    place.with_stores(a_day_of_traffic)
    report = place.json("spend", "--by", "model", "--since", "7d")
    assert report["rows"][0] == {
        "model": "flash", "requests": 2, "tokens": 300, "cost": "0.123456789", "cost_per_request": "0.061728394",
        "baseline": "0.246913578", "saved": "0.123456789", "avoided": "0.000000000", "wasted": "0.000000000",
        "currency": "CNY", "unpriced": 0, "errors": 0,
    }  # fmt: skip
    assert report["rows"][1]["wasted"] == "0.000000005"
    assert (report["total"]["requests"], report["total"]["errors"], report["total"]["cost"]) == (3, 1, "0.123456794")
    assert place.json("spend", "--since", "all")["total"]["requests"] == 4


def test_spend_never_relabels_an_amount(place: Place) -> None:
    """Rows are in the currency they were written in, whatever the config says now."""
    place.with_stores(a_day_of_traffic)
    config = place.directory / "penstock.yaml"
    config.write_text(config.read_text().replace("CNY", "USD\nfx: {CNY: 0.14}"))
    report = place.json("spend", "--since", "7d")
    assert {row["currency"] for row in [*report["rows"], report["total"]]} == {"CNY"}


def test_spend_by_lever_says_what_saved(place: Place) -> None:
    """The saving stands with the lever that made it."""
    place.with_stores(a_day_of_traffic)
    saved = {row["lever"]: row["saved"] for row in place.json("spend", "--by", "lever")["rows"]}
    assert saved == {"direct": "-0.000000005", "exact": "0.123456789"}


def test_spend_has_a_table_and_csv(place: Place) -> None:
    """The same figures for eyes and for spreadsheets."""
    place.with_stores(a_day_of_traffic)
    assert "0.123457" in place.run("spend", "--by", "tag")
    assert (
        place.run("spend", "--by", "tag", "--format", "csv").splitlines()[1].startswith("env=prod,2,300,0.123456789,")
    )


@pytest.mark.parametrize(
    "wrong",
    [["--by", "colour"], ["--since", "gestern"], ["--timezone", "Mars/Olympus"], ["--since", "1d", "--until", "2d"]],
)
def test_spend_refuses_what_it_does_not_understand(place: Place, wrong: list[str]) -> None:
    """Bad usage is exit code 2."""
    place.run("spend", *wrong, code=2)


def test_options_of_a_group_hold_for_its_commands(place: Place) -> None:
    """``-c`` and ``--format`` may stand anywhere: none is taken and ignored. The nearest to the command holds."""
    place.with_stores(a_day_of_traffic)
    config = str(place.directory / "penstock.yaml")
    for arguments in (
        ["-c", config, "spend", "--format", "json", "show", "ex_1"],
        ["spend", "-c", config, "show", "--format", "json", "ex_1"],
        ["-c", "nowhere.yaml", "spend", "--format", "csv", "show", "ex_1", "--format", "json", "-c", config],
    ):
        assert run(arguments) == 0
        assert len(msgspec.json.decode(place.capsys.readouterr().out)["rows"]) == 3
    for arguments in (["keys", "-c", config, "list"], ["-c", config, "cache", "stats"], ["-c", config, "check"]):
        assert run(arguments) == 0
    assert run(["-c", "nowhere.yaml", "check"]) == 2


def test_reading_without_a_store_says_so(place: Place) -> None:
    """Exit code 1, a sentence, and no file made."""
    for command in (["spend"], ["keys", "list"], ["cache", "stats"]):
        place.run(*command, code=1)
        assert "there is no store" in place.errors
    assert not (place.directory / "penstock.db").exists()


def test_show_prints_every_row_of_an_exchange(place: Place) -> None:
    """Itself, its attempt, its share; an unknown one is exit code 1."""
    place.with_stores(a_day_of_traffic)
    assert [row["row"] for row in place.json("spend", "show", "ex_1")["rows"]] == ["exchange", "attempt", "share"]
    place.run("spend", "show", "ex_9", code=1)


def test_show_is_for_people(place: Place) -> None:
    """Money with its currency, times, tokens in words; what says nothing is left out. CSV has every field as it is."""
    place.with_stores(a_day_of_traffic)
    lines = [line.split(None, 2) for line in place.run("spend", "show", "ex_3").splitlines()]
    shown = {(row, name): value for row, name, value in lines[1:]}
    assert shown["exchange", "cost"] == "0.000000005 CNY"
    assert shown["attempt", "charged_book"] == "0.000000005 CNY"
    assert shown["exchange", "duration"] == "0.500 s"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", shown["exchange", "at"])
    assert ("exchange", "user") not in shown
    shown_1 = place.run("spend", "show", "ex_1")
    assert "input_miss 100, output 50" in shown_1
    assert "env=prod" in shown_1
    assert "exchange,cost_nano,5" in place.run("spend", "show", "ex_3", "--format", "csv")


def test_a_group_without_a_name_is_shown_as_none(place: Place) -> None:
    """In the table only: programs get the empty name."""
    place.with_stores(a_day_of_traffic)
    assert place.run("spend", "--by", "user").splitlines()[1].startswith("(none)")
    assert place.json("spend", "--by", "user")["rows"][0]["user"] == ""


def test_a_key_is_shown_once_and_kept_as_a_keyed_hash(place: Place) -> None:
    """The store holds the HMAC under the pepper beside it, and never the key."""
    made = place.json("keys", "create", "ci", "--team", "a", "--models", "x, y", "--rpm", "5", "--expires", "30d")[
        "rows"
    ][0]
    records = place.with_stores(_keys)
    pepper = (place.directory / "penstock.db.secret").read_bytes().strip()
    assert [record.digest for record in records] == [hmac.digest(pepper, made["key"].encode(), hashlib.sha256).hex()]
    assert (records[0].models, records[0].rpm, records[0].team) == (("x", "y"), 5, "a")
    assert records[0].expires_at == records[0].created_at + 30 * 86_400
    assert made["key"].encode() not in (place.directory / "penstock.db").read_bytes()
    assert made["key"] not in place.run("keys", "list")


async def _keys(stores: Stores) -> list[KeyRecord]:
    return list(await stores.keys.list())


def test_keys_are_listed_and_revoked(place: Place) -> None:
    """By name; twice is exit code 1, and a name that lives is none to create one under: 2."""
    place.run("keys", "create", "ci")
    place.run("keys", "create", "ci", code=2)
    assert "there is a live key 'ci'" in place.errors
    place.run("keys", "revoke", "ci")
    place.run("keys", "revoke", "ci", code=1)
    place.run("keys", "create", "ci")
    assert [row["state"] for row in place.json("keys", "list")["rows"]] == ["revoked", "live"]


@pytest.mark.parametrize(
    "wrong",
    [
        ["create", "x", "--rpm", "0"],
        ["create", "x", "--expires", "soon"],
        ["create", "x", "--expires", "9999d"],
        ["create"],
    ],
)
def test_keys_refuses_what_it_does_not_understand(place: Place, wrong: list[str]) -> None:
    """Bad usage is exit code 2."""
    place.run("keys", *wrong, code=2)


def test_a_key_out_of_all_reason_is_refused_with_a_sentence(place: Place) -> None:
    """Where the server's own check is not in between."""
    for wrong in (["--expires", "0s"], ["--tpm", str(2**63)], ["--team", "a\nb"]):
        place.run("keys", "create", "x", *wrong, code=2)
        assert place.errors.count("\n") == 1
    assert place.run("keys", "list") == "Nothing to show.\n"


async def two_answers(stores: Stores) -> None:
    """One of the open mode, one of a key that the store knows."""
    await stores.keys.add(KeyRecord(id="key_1", name="ci", digest="d", prefix="psk-", created_at=0.0))
    for number, tenant in enumerate(["anonymous", "key_1"]):
        answer = StoredAnswer(
            body=b"{}", stored_at=1.0, expires_at=SystemClock().now() + 600, attempt_id="at_1", model=f"m{number}",
            tenant=tenant, tags=("env=prod",), deployment="d", usage=Usage(), estimated=False,
        )  # fmt: skip
        stores.answers.put(bytes([number] * 32), answer)


@pytest.mark.parametrize(
    ("what", "left"),
    [
        (["--key", "ci"], ["m0"]),
        (["--key", "anonymous"], ["m1"]),
        (["--model", "m1"], ["m0"]),
        (["--tag", "env=prod", "--model", "m0"], ["m1"]),
        (["--all"], []),
    ],
)
def test_purge_on_the_store_survives(place: Place, what: list[str], left: list[str]) -> None:
    """What was purged is not there for the next process."""
    place.with_stores(two_answers)
    assert place.json("cache", "stats")["total"] == {"entries": 2, "bytes": 4}
    assert place.run("cache", "purge", *what) == f"Purged {2 - len(left)} answers.\n"
    assert [row["model"] for row in place.json("cache", "stats")["rows"]] == left


def test_purge_wants_to_know_what(place: Place) -> None:
    """Nothing given is no order to forget everything; an unknown key is a mistake."""
    place.run("cache", "purge", code=2)
    place.run("cache", "purge", "--all", "--model", "m", code=2)
    place.run("cache", "purge", "--key", "nobody", code=2)
    assert "there is no key 'nobody'" in place.errors


# --- through a server


def test_a_running_server_makes_the_key(place: Place, server: Server) -> None:
    """It is asked with the admin token, and the store is left to it."""
    server.answer = b'{"id": "key_1", "name": "ci", "key": "psk-x"}'
    made = place.json("keys", "create", "ci", "--models", "a,b", "--expires", "1d")["rows"]
    assert made == [{"name": "ci", "id": "key_1", "key": "psk-x"}]
    wanted = {
        "name": "ci", "team": "", "models": ["a", "b"], "rpm": None, "tpm": None, "concurrency": None,
        "expires_in_s": 86_400.0,
    }  # fmt: skip
    assert server.asked == [("POST", "/admin/keys", wanted, "Bearer t0ken")]
    assert not (place.directory / "penstock.db").exists()


def test_a_running_server_revokes_and_purges(place: Place, server: Server) -> None:
    """A name is quoted into the path whatever it is."""
    place.run("keys", "revoke", "a/b c")
    server.answer = b'{"purged": 7}'
    assert place.run("cache", "purge", "--key", "ci", "--tag", "a=b") == "Purged 7 answers.\n"
    assert [asked[:3] for asked in server.asked] == [
        ("DELETE", "/admin/keys/a%2Fb%20c", None),
        ("POST", "/admin/cache/purge", {"key": "ci", "tag": "a=b"}),
    ]


@pytest.mark.parametrize(
    "order",
    [
        ["keys", "create", "ci"],
        ["cache", "purge", "--key", "nobody"],
        ["budgets", "set", "all", "--limit", "3 XYZ"],
        ["budgets", "reset", "all"],
    ],
)
@pytest.mark.parametrize(("status", "code"), [(400, 2), (413, 2), (422, 2), (403, 1), (404, 1), (503, 1)])
def test_an_order_that_is_wrong_is_bad_usage(
    place: Place, server: Server, order: list[str], status: int, code: int
) -> None:
    """As on the store, with the server's words; what is wrong with anything else has failed."""
    server.status, server.answer = status, b'{"error": {"message": "limit: is in XYZ"}}'
    place.run(*order, code=code)
    assert "limit: is in XYZ" in place.errors


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (403, b'{"error": {"message": "not you"}}', "not you"),
        (401, b'{"error": {"message": "the admin token is wrong"}}', "the admin token is wrong"),
        (404, b"<html>", "is it a Penstock?"),
        (200, b"<html>", "is it a Penstock?"),
        (500, b'{"error": "oops"}', "is it a Penstock?"),
    ],
)
def test_a_server_that_refuses_is_quoted(place: Place, server: Server, status: int, answer: bytes, said: str) -> None:
    """And the store is not written behind its back."""
    server.status, server.answer = status, answer
    place.run("keys", "create", "ci", code=1)
    assert said in place.errors
    assert not (place.directory / "penstock.db").exists()


def without_token(place: Place) -> None:
    """The same config, with no admin token anywhere."""
    config = place.directory / "penstock.yaml"
    config.write_text(config.read_text().replace(f", admin_token: {place.token}", ""))


def test_a_server_without_a_token_does_not_lock_its_operator_out(place: Place, server: Server) -> None:
    """Once the first key ended open mode it answers 401 to all: keys go to its store, where it looks every second."""
    without_token(place)
    server.status = 401
    place.run("keys", "create", "ci")
    assert "will find this in sqlite:penstock.db" in place.errors
    place.run("keys", "revoke", "ci")
    assert [row["state"] for row in place.json("keys", "list")["rows"]] == ["revoked"]
    assert len(server.asked) == 2
    place.run("cache", "purge", "--all", code=1)
    assert "set server.admin_token" in place.errors


def test_a_key_without_an_admin_token_is_made_with_a_warning(place: Place) -> None:
    """Which says what to set; with a token there is nothing to warn of."""
    place.run("keys", "create", "first")
    assert "warning" not in place.errors
    without_token(place)
    place.run("keys", "create", "second")
    assert "server.admin_token" in place.errors
    assert "PENSTOCK_ADMIN_TOKEN" in place.errors
