"""What must not be logged cannot be."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.settings import Address, Secret
from penstock.core.records import LedgerRow
from penstock.errors import Unreachable
from penstock.observe.logs import HIDDEN, configure_logs, ledger_rows_lost, redact
from tests.support.ledger_rows import attempt_row, exchange_row, share_row

CANARY = "canary-7f3a"


class Lines(io.StringIO):
    """What was logged."""

    def read_all(self) -> list[dict[str, Any]]:
        """Each line as the object it must be."""
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The process's logs, for one test."""
    root = logging.getLogger()
    before, level, stream = root.handlers[:], root.level, Lines()
    configure_logs(stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_an_event_is_one_json_line(lines: Lines) -> None:
    """Time, level and event first, then its fields."""
    structlog.stdlib.get_logger("x").warning("provider_slow", deployment="a/b", waited_s=1.5, at=Address("::1", 1))
    (line,) = lines.read_all()
    assert list(line)[:3] == ["time", "level", "event"]
    assert line["time"].endswith("Z")
    assert line | {"time": ""} == {
        "time": "", "level": "warning", "event": "provider_slow", "deployment": "a/b", "waited_s": 1.5, "at": "[::1]:1",
    }  # fmt: skip


def test_of_several_workers_each_line_says_which(lines: Lines) -> None:
    """By either logger; a process that is alone says nothing of it."""
    logging.getLogger("x").error("alone")
    configure_logs(lines, worker=3)
    structlog.stdlib.get_logger("x").error("one")
    logging.getLogger("x").error("two")
    assert [line.get("worker") for line in lines.read_all()] == [None, 3, 3]


@pytest.mark.parametrize(
    "name",
    [
        "authorization", "Authorization", "api_key", "apikey", "x_api_key", "key", "admin_token", "secret", "password",
        "credential", "cookie", "prompt", "messages", "message", "content", "body", "raw", "input", "output", "headers",
        "fields", "text", "pepper",
    ],
)  # fmt: skip
def test_fields_named_like_secrets_or_user_text_are_hidden(lines: Lines, name: str) -> None:
    """Whatever they hold, and by whichever logger."""
    structlog.stdlib.get_logger("x").error("e", **{name: CANARY})
    structlog.stdlib.get_logger("x").error("e", **{name: [CANARY, {"a": CANARY}]})
    assert [line[name] for line in lines.read_all()] == [HIDDEN, HIDDEN]
    assert CANARY not in lines.getvalue()


def test_harmless_names_that_resemble_them_are_shown(lines: Lines) -> None:
    """Operators need these."""
    fields = {"key_name": "search", "key_id": "key_1", "tokens": 3, "max_tokens": 4, "model": "m", "team": "t"}
    structlog.stdlib.get_logger("x").error("e", **fields)
    (line,) = lines.read_all()
    assert {name: line[name] for name in fields} == fields


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}", f"incorrect key sk-{CANARY}", f"basic {CANARY}",
        f"proxy http://user:{CANARY}@10.0.0.1:3128 failed", f"key ps_{CANARY}",
    ],
)  # fmt: skip
def test_a_key_inside_a_text_is_cut_out(lines: Lines, text: str) -> None:
    """A provider's error may quote it back."""
    structlog.stdlib.get_logger("x").error(text, reason=text)
    logging.getLogger("other").warning("%s", text)
    assert CANARY not in lines.getvalue()
    assert len(lines.read_all()) == 2


def test_only_plain_values_pass(lines: Lines) -> None:
    """An object that carries a request cannot slip through."""
    structlog.stdlib.get_logger("x").error("e", a={"k": CANARY}, b=CANARY.encode(), c=Secret(CANARY), d=[{"k": CANARY}])
    (line,) = lines.read_all()
    assert [line[name] for name in "abcd"] == ["<dict>", "<bytes>", HIDDEN, ["<dict>"]]


def test_an_exception_shows_where_but_not_what_it_choked_on(lines: Lines) -> None:
    """Other people's messages quote data; ours and the system's are needed."""
    log = logging.getLogger("x")
    for error in (KeyError(CANARY), Unreachable("cannot be reached", detail="refused"), OSError(28, "No space left")):
        try:
            raise error  # noqa: TRY301 - the traceback must end in this file
        except Exception:
            log.exception("failed")
    one, two, three = (line["error"] for line in lines.read_all())
    assert CANARY not in lines.getvalue()
    assert one["type"] == "builtins.KeyError"
    assert one["at"][-1].startswith("test_logs.py:")
    assert (two["kind"], two["message"], two["detail"]) == ("provider_unreachable", "cannot be reached", "refused")
    assert "No space left" in three["message"]


def test_standard_records_keep_their_extra(lines: Lines) -> None:
    """And pass the same redactor."""
    logging.getLogger("penstock.x").warning("job %s", "failed", extra={"job": "sweep", "token": CANARY})
    (line,) = lines.read_all()
    assert (line["event"], line["logger"], line["job"], line["token"]) == ("job failed", "penstock.x", "sweep", HIDDEN)


def test_asyncios_noise_is_off(lines: Lines) -> None:
    """Which selector it uses costs no line; a task that was lost does."""
    logging.getLogger("asyncio").info("Using selector: EpollSelector")
    logging.getLogger("asyncio").error("Task was destroyed but it is pending!")
    assert [line["event"] for line in lines.read_all()] == ["Task was destroyed but it is pending!"]


def test_lost_ledger_rows_are_printed_whole(lines: Lines) -> None:
    """What was spent can be entered later from the log."""
    rows: list[LedgerRow] = [
        exchange_row("ex", cost_nano=7, tags={"feature": "x"}),
        attempt_row("at", "ex"),
        share_row("at", "ex", 7),
    ]
    ledger_rows_lost(rows, "disk full")
    seen = lines.read_all()
    assert [line["kind"] for line in seen] == ["exchange", "attempt", "share"]
    assert {line["event"] for line in seen} == {"ledger_row_lost"}
    assert seen[0]["row"]["cost_nano"] == 7
    assert seen[0]["row"]["tags"] == {"feature": "x"}
    assert seen[2]["row"] == {"attempt_id": "at", "exchange_id": "ex", "amount_nano": 7, "lever": "direct"}


@given(st.dictionaries(st.text(max_size=8), st.recursive(st.text() | st.binary() | st.none(), st.lists, max_leaves=5)))
def test_anything_can_be_redacted(fields: dict[str, object]) -> None:
    """The redactor never fails: a log line must not take a request down."""
    assert set(redact(None, "error", dict(fields))) == set(fields)
