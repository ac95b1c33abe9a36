"""The whole pipeline as a state machine: requests, faults, repeats, leavers, time and limits in any order.

    TestIt = HouseMachine.TestCase

After every step the books add up, with what is under way; in the end with the provider's bill, call by call. A loop of
virtual time per example.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final

import looptime
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.core.retry import RetryBudget
from penstock.core.windows import WINDOWS
from penstock.providers.play import Play
from penstock.providers.scripted import Asked, Script
from tests.support.bill_provider_lines import BilledCall
from tests.support.bill_provider_scripted import say_as_asked, scripted_bill
from tests.support.bill_provider_words import prompt_of
from tests.support.gateway_with_failpoints import Words
from tests.support.house import END_S, chat, open_house

LIFE_S: Final = 5 * END_S
FAULTS: Final = ("fault=429", "fault=503", "fault=refuse", "fault=inside")
"""Words of a prompt for which nothing is done, and nothing billed, the first time that it is sent."""
USERS: Final = ("alice", "bob", "")
TIMEOUTS: Final = {"first_byte": "20s", "between": "10s", "total": "60s"}


class HouseMachine(RuleBasedStateMachine):
    """A house, and whatever its clients do."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(end=LIFE_S))
        self.stack = AsyncExitStack()
        self.number = 0
        self.faulty: set[str] = set()
        self.broken: set[str] = set()

    @initialize(
        money=st.integers(0, 200_000),
        tokens=st.integers(0, 20_000),
        window=st.sampled_from(WINDOWS),
        exact=st.booleans(),
    )
    def open(self, money: int, tokens: int, window: str, *, exact: bool) -> None:
        """A budget of some calls over all, one per user and day, and one that only warns."""
        budgets = [
            {"name": "all", "scope": "global", "limit": f"{money / 1e6:.6f} CNY", "window": window, "timezone": "UTC"},
            {"name": "user", "scope": "user", "limit": f"{tokens} tokens", "window": "hour", "timezone": "UTC",
             "entries": {"bob": "100000 tokens"}},
            {"name": "soft", "scope": "model", "limit": "1 tokens", "window": "total", "hard": False},
        ]  # fmt: skip
        config: dict[str, Any] = {"budgets": budgets, "timeouts": TIMEOUTS, "retry": {"attempts": 3, "budget": 1}}
        house = open_house(tokenizers={"scripted": Words()} if exact else None, **config)
        self.house = self.runner.run(self.stack.enter_async_context(house))
        self.house.upstream.call(self._scene).forever()
        self.house.gateway.standing.budget = RetryBudget(1.0)

    # --- what clients do

    @rule(
        model=st.sampled_from(("m", "stopping", "duo", "folded")),
        user=st.sampled_from(USERS),
        stream=st.booleans(),
        say=st.integers(1, 30),
        gap_ms=st.sampled_from((0, 100, 2500)),
        cap=st.none() | st.integers(1, 40),
        fault=st.none() | st.sampled_from(FAULTS),
    )
    def ask(
        self, *, model: str, user: str, say: int, gap_ms: int, cap: int | None, fault: str | None, stream: bool
    ) -> None:
        """One more request, under way from now on."""
        self.number += 1
        marker = f"mk-{self.number}"
        prompt = " ".join(filter(None, [prompt_of(marker, say=say, gap_ms=gap_ms), fault]))
        fields = {} if cap is None else {"max_completion_tokens": cap}
        self._ask(chat(prompt, model=model, stream=stream, user=user, **fields), marker)

    @precondition(lambda self: self.house.asked)
    @rule(data=st.data(), under_key=st.booleans())
    def ask_again(self, data: st.DataObject, *, under_key: bool) -> None:
        """The same again: a hit, one that joins, or under its Idempotency-Key."""
        before = data.draw(st.sampled_from(self.house.asked))
        marker = dict(before.scope["headers"])[b"x-penstock-tags"].decode().partition("=")[2]
        headers = {"idempotency-key": marker} if under_key else {}
        self._ask(before.scope["machine.body"], marker, **headers)

    @precondition(lambda self: self.house.asked)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A client goes."""
        data.draw(st.sampled_from(self.house.asked)).leave()
        self._pass(0.0)

    @rule(seconds=st.sampled_from((0.0, 0.1, 1.0, 7.0, 61.0, 3600.0)))
    def pass_time(self, seconds: float) -> None:
        """Everything goes on."""
        self._pass(seconds)

    @rule(percent=st.integers(50, 400))
    def change_limit(self, percent: int) -> None:
        """The operator raises a limit."""
        treasury = self.house.gateway.treasury
        first, *others = treasury.budgets
        raised = replace(first, limit=first.limit * max(100, percent) // 100)
        self.runner.run(treasury.adopt([raised, *others]))

    # --- what must hold

    @invariant()
    def the_books_add_up(self) -> None:
        """Whatever is under way."""
        if self.number:
            self.house.check(running=True)

    def teardown(self) -> None:
        """To the end of all requests, and the bill."""
        try:
            if self.number:
                self.runner.run(self.house.rest())
                self.house.check(bill=self._bill())
            self.runner.run(self.stack.aclose())
        finally:
            self.runner.close()

    # --- in small

    def _ask(self, body: dict[str, Any], marker: str, **headers: str) -> None:
        tags = {"x-penstock-tags": f"marker={marker}"}
        self.runner.run(self._begin(body, {**tags, **headers}))

    async def _begin(self, body: dict[str, Any], headers: dict[str, str]) -> None:
        asking = self.house.ask(body, headers=headers)
        asking.scope["machine.body"] = body
        await asyncio.sleep(0)

    def _pass(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    def _scene(self, asked: Asked) -> Play:
        """As asked; a fault only the first time."""
        words = str(asked.json["messages"][-1]["content"]).split()
        fault = words[-1] if words[-1] in FAULTS and words[0] not in self.faulty else ""
        if not fault:
            return say_as_asked(asked)
        self.faulty.add(words[0])
        self.broken.add(f"up-{id(asked):x}")
        script = Script()
        {
            "fault=429": lambda: script.fail(429),
            "fault=503": lambda: script.fail(503),
            "fault=refuse": script.refuse,
            "fault=inside": script.error_inside,
        }[fault]()
        return script.play(asked)

    def _bill(self) -> list[BilledCall]:
        calls = scripted_bill(self.house.upstream.calls)
        return [
            replace(call, prompt=0, output=0, why="refused") if call.call in self.broken else call for call in calls
        ]
