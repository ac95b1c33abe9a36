"""What ``penstock demo --regions`` shows while it runs, and at its end."""

from collections import Counter
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from penstock.cli.demo_regions_display import Scene, Screen, axis, frame, headline, result, spark
from penstock.cli.demo_regions_report import CUT, Marks, Seen
from penstock.pipeline.fleet import MemberState

REGIONS = ("beijing", "shanghai")


def state(name: str, breaker: str, back_in_s: float | None = None) -> MemberState:
    """A deployment as the fleet says it is."""
    return MemberState(name, "beijing", breaker, 2, 64, 0.4, 0.8, back_in_s)


SEEN = [
    Seen("beijing", 1.0, 1.4, 2.0, streamed=True, served_by="beijing", calls=1),
    Seen("beijing", 3.0, 3.3, 3.5, streamed=True, served_by="beijing", calls=1, failure=CUT),
    Seen("beijing", 4.0, 4.5, 5.0, streamed=True, served_by="shanghai", calls=3),
]
SCENE = Scene(
    6.0, 12.0, SEEN, Marks("beijing", 3.4, 3.6), REGIONS, [state("a/x", "closed"), state("b/x", "open", 1.23)]
)


def drawn(*shown: RenderableType) -> str:
    """On a console of 100 columns."""
    console = Console(file=StringIO(), width=100)
    for each in shown:
        console.print(each)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_bar_is_as_high_as_its_share() -> None:
    """Nothing is a dot, something is never nothing, the most is full."""
    assert spark(Counter({0: 1, 2: 8, 3: 16}), 4, 16) == "▁·▄█"
    assert spark(Counter(), 3, 0) == "···"


def test_marks_stand_below_what_happened() -> None:
    """Each in its column, as far as there is room."""
    assert axis(Marks("beijing", 4.0, back_s=9.0, healed_s=20.0), 0.5).plain == (
        "        ▲ killed  ▲ back                ▲ well"
    )
    assert axis(Marks("beijing"), 0.5).plain == ""


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        (Marks("beijing"), "Both regions serve"),
        (Marks("beijing", 1.0), "is killed"),
        (Marks("beijing", 1.0, 1.1), "breakers are open"),
        (Marks("beijing", 1.0, 1.1, 2.0), "single requests find out"),
        (Marks("beijing", 1.0, 1.1, 2.0, 3.0), "well again"),
        (Marks("beijing", 1.0, 1.1, 2.0, 3.0, 4.0), "its clients with it"),
    ],
)
def test_the_headline_says_what_happened_last(marks: Marks, words: str) -> None:
    """One for every mark."""
    assert words in headline(marks)


def test_the_screen_shows_regions_clients_and_breakers() -> None:
    """Who answers, what failed, who is out and until when."""
    shown = drawn(frame(SCENE))
    assert "Beijing is out" in shown
    assert "▲ killed" in shown
    assert "out, asked again in 1.2 s" in shown
    clients = next(row for row in shown.splitlines() if row.strip().startswith("Beijing  "))
    assert clients.split() == ["Beijing", "0.5", "1", "300", "ms", "500", "ms", "Shanghai", "100%"]


def test_the_result_counts_all_that_was_answered() -> None:
    """No rate of the last seconds when it is over."""
    scene = replace(SCENE, marks=replace(SCENE.marks, end_s=6.0))
    shown = drawn(*result(scene))
    assert "What the clients saw while Beijing was killed" in shown
    assert "/s" not in shown.split("What the clients saw")[0]
    assert "SIGKILL" in shown


def test_a_pipe_gets_a_line_per_event() -> None:
    """However often one looks."""
    console = Console(file=StringIO(), width=200)
    scenes = [SCENE] * 3 + [replace(SCENE, marks=Marks("beijing", 3.4, 3.6, 5.0))] * 2
    screen = Screen(console, lambda: scenes.pop(0))
    with screen.live():
        for _ in range(5):
            screen.step()
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    assert [row.endswith("(3 requests so far, 1 failed)") for row in lines] == [True, True]
