"""What the clients of two regions saw of an outage: figures from single answers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.demo_regions_report import (
    AFTER,
    BEFORE,
    CUT,
    OUT,
    REFUSED,
    STEADY,
    TRIAL,
    Marks,
    Report,
    Seen,
    report,
    returned_at_s,
    rows,
    story,
    table,
    total,
)

REGIONS = ("beijing", "shanghai")
MARKS = Marks("beijing", 10.0, 10.2, 20.0, 24.0, 30.0, 40.0)


def seen(sent_s: float, served_by: str = "beijing", **fields: object) -> Seen:
    """A stream of a client in Beijing: first byte after 0.3 s, all of it after 1 s."""
    plain = Seen("beijing", sent_s, sent_s + 0.3, sent_s + 1.0, streamed=True, served_by=served_by, calls=1)
    return replace(plain, **fields)  # type: ignore[arg-type] # the test's own words


def phases(found: Report) -> dict[str, int]:
    """Requests by phase."""
    return {phase.name: phase.requests for phase in found.phases}


def test_an_answer_counts_where_it_ended() -> None:
    """One that the kill cut was sent before it, and failed because of it."""
    cut = seen(9.5, ended_s=10.0, failure=CUT)
    found = report([seen(5.0), cut, seen(15.0, "shanghai"), seen(25.0, "shanghai"), seen(39.9)], MARKS, REGIONS)
    assert phases(found) == {BEFORE: 1, OUT: 1 + 1, TRIAL: 1, AFTER: 1}
    assert [(phase.failed, phase.cut) for phase in found.phases] == [(0, 0), (1, 1), (0, 0), (0, 0)]
    assert found.phases[1].answered_by == {"beijing": 0, "shanghai": 1}


def test_failures_are_told_apart() -> None:
    """Cut answers from those that never began, and from those that another call saved."""
    found = report(
        [seen(11.0, failure=CUT), seen(11.0, "", began_s=None, failure=REFUSED), seen(11.0, "shanghai", calls=3)],
        MARKS,
        REGIONS,
    )
    assert (found.requests, found.failed, found.cut) == (3, 2, 1)
    assert found.phases[1].helped == 1


def test_fail_over_is_the_first_answer_from_elsewhere() -> None:
    """To a client of the killed region, from the kill to the first byte; those of the other region prove nothing."""
    other = seen(10.1, "shanghai", home="shanghai")
    found = report([seen(9.0), other, seen(10.5, "shanghai"), seen(12.0, "shanghai")], MARKS, REGIONS)
    assert found.fail_over_s == pytest.approx(0.8)


def test_probes_are_no_return() -> None:
    """Single answers do not count; ten in a row do, from the first of them on."""
    probes = [seen(21.0 + place, "beijing" if place % 3 else "shanghai") for place in range(8)]
    steady = [seen(30.0 + place / 10) for place in range(STEADY)]
    elsewhere = seen(29.9, "shanghai")
    assert returned_at_s([*probes, elsewhere, *steady[1:]], MARKS) is None
    assert returned_at_s([*steady, *probes, elsewhere], MARKS) == pytest.approx(30.3)
    assert returned_at_s(steady, Marks("beijing", 10.0)) is None


def test_silence_is_measured_between_whole_answers() -> None:
    """Of clients of the killed region; it belongs to the phase in which it ended, and a last one to the end."""
    answers = [seen(8.0), seen(8.5, failure=CUT), seen(11.5, "shanghai"), seen(12.0, "shanghai", home="shanghai")]
    found = report(answers, replace(MARKS, back_s=None, healed_s=None, returned_s=None), REGIONS)
    assert [phase.home_gap_s for phase in found.phases] == [0.0, pytest.approx(27.5)]
    found = report([*answers, seen(13.0, "shanghai"), seen(38.9)], MARKS, REGIONS)
    assert [phase.home_gap_s for phase in found.phases] == [0.0, 3.5, 0.0, pytest.approx(25.9)]


def test_waiting_longer_is_against_before() -> None:
    """The median and P95 of streams; whole answers have no first byte of their own."""
    slow = seen(12.0, "shanghai", began_s=12.7, ended_s=13.0)
    whole = seen(13.0, "shanghai", streamed=False, began_s=19.0, ended_s=19.0)
    found = report([seen(5.0), slow, whole], MARKS, REGIONS)
    assert list(found.extra_s) == pytest.approx([0.4, 0.4])


@given(st.lists(st.tuples(st.floats(0, 45), st.booleans(), st.booleans())))
def test_every_request_is_in_one_phase(drawn: list[tuple[float, bool, bool]]) -> None:
    """Nothing is lost and nothing counted twice, what ended after the last question included."""
    answers = [seen(at_s, failure=CUT if cut else "", home=REGIONS[home]) for at_s, cut, home in drawn]
    found = report(answers, MARKS, REGIONS)
    assert (found.requests, found.failed) == (len(drawn), sum(cut for _, cut, _ in drawn))


def test_programs_get_a_row_per_phase() -> None:
    """And null for what never happened."""
    found = report([seen(5.0)], Marks("beijing", 10.0, end_s=20.0), REGIONS)
    assert [row["phase"] for row in rows(found)] == [BEFORE, OUT]
    assert rows(found)[0] | {"requests": 1, "answered_by_beijing": 1, "first_byte_p50_s": 0.3} == rows(found)[0]
    nothing = {"fail_over_s": None, "ejected_s": None, "back_at_s": None, "healed_s": None, "fail_back_s": None}
    assert total(found) | nothing == total(found)


def test_people_get_a_table_and_sentences() -> None:
    """With a column per phase, and what came of it in words."""
    found = report([seen(5.0), seen(9.5, failure=CUT), seen(11.0, "shanghai"), seen(31.0)], MARKS, REGIONS)
    cells = {line.what.strip(): list(line.cells) for line in table(found)}
    assert cells["requests"] == ["1", "2", "-", "1"]
    assert cells["failed"] == ["0", "1 (50.0 %)", "-", "0"]
    assert cells["answered there"] == ["100.0 %", "0.0 %", "-", "100.0 %"]
    said = " ".join(story(found))
    for words in (
        "Beijing was killed 10.0 s after the start. Its breakers had opened after 200 ms",
        "Of 4 requests 1 failed: 1 while the answer was being written",
        "listened again 10.0 s after the kill",
        "its clients went back after 10.00 s",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        (Marks("beijing", end_s=5.0), "It ended before anything happened."),
        (Marks("beijing", 1.0, end_s=5.0), "Its breakers did not open. No other region answered its clients."),
        (Marks("beijing", 1.0, 1.1, end_s=5.0), "Beijing did not come back."),
        (Marks("beijing", 1.0, 1.1, 2.0, end_s=5.0), "Its breakers did not close before the end."),
        (Marks("beijing", 1.0, 1.1, 2.0, 3.0, end_s=5.0), "its clients did not go back before the end."),
    ],
)
def test_what_did_not_happen_is_said(marks: Marks, words: str) -> None:
    """No figure stands for it."""
    assert words in " ".join(story(report([], marks, REGIONS)))
