"""The demo's traffic: a shop's help desk in Chinese and English in which two questions of five were asked before.

Deterministic: the same chance gives the same questions in the same order at the same instants. Repeats follow Zipf's
law, as questions at real help desks do: the n-th most popular one is asked 1/n of the most popular one's times.
"""

from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import accumulate
from math import log
from typing import Any, TypeVar

import yaml

from penstock.ports.clock import Rng

T = TypeVar("T")

REPEATED_TENTHS = 4
"""Of ten questions, how many were asked before in the same words."""

_NEW_PER_COMMON = 3
"""Every third new question is the first asking of a common one, until those are used up."""
_REPEATS_PER_COMMON = 5
"""How many common questions take part: one per so many repeats."""
_STREAMED = 0.5
"""Share of customers whose chat window shows the answer while it is written."""


@dataclass(frozen=True, slots=True)
class Language:
    """One language of ``demo_questions.yaml``; see there."""

    system: str
    record: str
    common: Sequence[str]
    personal: Sequence[str]
    values: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Ask:
    """One question: ``at_s`` is its arrival, in seconds from the start; ``repeats`` = asked before in these words."""

    at_s: float
    language: str
    system: str
    question: str
    customer: str
    stream: bool
    repeats: bool

    def body(self, model: str) -> dict[str, Any]:
        """The request, as any OpenAI client sends it. ``user`` differs between customers who ask the same."""
        messages = [{"role": "system", "content": self.system}, {"role": "user", "content": self.question}]
        body: dict[str, Any] = {"model": model, "messages": messages, "user": self.customer}
        return body | {"stream": True} if self.stream else body


def load_languages() -> dict[str, Language]:
    """The question bank that is shipped beside this file."""
    text = resources.files("penstock.cli").joinpath("demo_questions.yaml").read_text("utf-8")
    return {name: Language(**fields) for name, fields in yaml.safe_load(text).items()}


def repeats_of(requests: int) -> int:
    """How many of so many requests repeat an earlier one: 40 %, rounded to the nearest whole one."""
    return (REPEATED_TENTHS * requests + 5) // 10


def workload(languages: Mapping[str, Language], requests: int, rng: Rng, *, rate: float) -> list[Ask]:
    """The traffic: ``requests`` questions that arrive at ``rate`` per second on average, as independent people do."""
    return list(Desk(languages, rng).asks(requests, rate))


class Desk:
    """Draws the questions one after the other."""

    def __init__(self, languages: Mapping[str, Language], rng: Rng) -> None:
        """``languages``: by name."""
        self._rng = rng
        self._languages = languages
        common = zip(*([(name, text) for text in bank.common] for name, bank in languages.items()), strict=True)
        self._common = [pair for pairs in common for pair in pairs]
        """(language, question), the most popular first."""
        self._weights = list(accumulate(1 / rank for rank in range(1, len(self._common) + 1)))
        self._serial = self._draw(0, 10**5)

    def asks(self, requests: int, rate: float) -> Iterator[Ask]:
        """The whole traffic."""
        repeated = set(self._shuffled(range(1, requests))[: repeats_of(requests)])
        common = min(len(self._common), 1 + repeats_of(requests) // _REPEATS_PER_COMMON)
        at_s, new, asked = 0.0, 0, 0
        for position in range(requests):
            at_s -= log(1 - self._rng.random()) / rate
            if position in repeated:
                yield self._ask(at_s, *self._common[self._popular(asked)], repeats=True)
                continue
            if asked < common and new % _NEW_PER_COMMON == 0:
                yield self._ask(at_s, *self._common[asked], repeats=False)
                asked += 1
            else:
                yield self._ask(at_s, *self._personal(), repeats=False)
            new += 1

    def _popular(self, asked: int) -> int:
        """The rank of a common question by Zipf's law; of those nobody has asked yet, one that somebody has."""
        weights = self._weights
        return bisect(weights, self._rng.random() * weights[-1], hi=len(weights) - 1) % asked

    def _personal(self) -> tuple[str, str]:
        """A question that nobody has asked: its order number is new."""
        name = self._pick(sorted(self._languages))
        bank = self._languages[name]
        values = self._values(bank)
        return name, (bank.record + self._pick(bank.personal)).format(**values)

    def _values(self, bank: Language) -> dict[str, str]:
        draw = self._draw
        numbers = {
            "order": f"26{draw(1, 12):02}{self._next_serial():08}",
            "customer": f"C{self._serial:07}",
            "price": f"{draw(19, 1999)}.{draw(0, 99):02}",
            "discount": f"{draw(5, 80)}",
            "points": f"{draw(20, 5000)}",
            "count": f"{draw(2, 6)}",
            "wait": f"{draw(2, 12)}",
        }
        return numbers | {name: self._pick(values) for name, values in bank.values.items()}

    def _next_serial(self) -> int:
        self._serial += self._draw(1, 99)
        return self._serial

    def _draw(self, least: int, most: int) -> int:
        """A whole number, both ends included."""
        return least + int(self._rng.random() * (most - least + 1))

    def _pick(self, values: Sequence[T]) -> T:
        return values[self._draw(0, len(values) - 1)]

    def _shuffled(self, values: Sequence[T]) -> list[T]:
        return sorted(values, key=lambda _: self._rng.random())

    def _ask(self, at_s: float, language: str, question: str, *, repeats: bool) -> Ask:
        return Ask(
            at_s=at_s,
            language=language,
            system=self._languages[language].system,
            question=question,
            customer=f"customer-{self._draw(0, 10**6)}",
            stream=self._rng.random() < _STREAMED,
            repeats=repeats,
        )
