"""What the simulated provider says: short, plausible, in the language of the question, and honest about being made up.

Pure: the same request gets the same words and vectors.
"""

import hashlib
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

PIECE: Final = re.compile(r"[\x00-\x7f]{1,4}|[^\x00-\x7f]{1,2}")
"""A token, near enough: four ASCII characters or two others (DeepSeek's tokenizer: 3.9 and 1.8)."""
DIMENSIONS: Final = 256
MAX_DIMENSIONS: Final = 4096
_CHINESE: Final = re.compile(r"[\u4e00-\u9fff]")
_QUOTED: Final = 60
"""Characters of the question that the answer repeats."""

_encode = msgspec.json.Encoder().encode

_ENGLISH: Final = (
    (
        "Thank you for your question: “{question}”. Please check the order page first; most requests of this kind are "
        "settled there within one working day. If that does not help, reply here and we will look into it together."
    ),
    (
        "You asked: “{question}”. In short, yes. Open the settings, choose the entry that fits, and confirm; the "
        "change takes effect at once and you will get a message about it."
    ),
    (
        "About “{question}”: this depends on your plan. The standard plan covers it for thirty days, the larger plans "
        "for a year. Tell us your plan and we can say exactly what applies to you."
    ),
)
_IN_CHINESE: Final = (
    "您好,关于“{question}”:请先在订单页面查看处理进度,这类问题通常一个工作日内即可解决。如仍未解决,请回复本消息,我们会继续为您跟进。",
    "您问的是“{question}”。可以的:请打开设置,选择对应的选项并确认,修改会立即生效,您也会收到通知。",
    "关于“{question}”,要看您的套餐:标准版支持三十天,高级版支持一年。请告诉我们您的套餐,我们会给出准确的答复。",
)
_MARKS: Final = ("(This answer is simulated.)", "(本回答为模拟生成。)")


def pieces_of(text: str) -> list[str]:
    """The text in tokens."""
    return PIECE.findall(text)


def prompt_text(dialect: str, fields: Mapping[str, Any]) -> str:
    """Everything that counts as prompt, in order: tools and system first, as providers lay it out."""
    if dialect == "completions":
        return f"{text_of(fields.get('prompt'))}{text_of(fields.get('suffix'))}"
    parts = [text_of(fields.get("tools")), text_of(fields.get("system"))]
    messages = fields.get("messages")
    parts.extend(text_of(message) for message in (messages if isinstance(messages, list) else []))
    return "\n".join(part for part in parts if part)


def answer_text(dialect: str, fields: Mapping[str, Any]) -> str:
    """The answer to the last question."""
    question = " ".join(_question(dialect, fields).split())[:_QUOTED]
    chinese = _CHINESE.search(question) is not None
    said = _IN_CHINESE if chinese else _ENGLISH
    text = said[zlib.crc32(question.encode()) % len(said)].replace("{question}", question or "…") + _MARKS[chinese]
    form = fields.get("response_format")
    if isinstance(form, dict) and str(form.get("type", "")).startswith("json"):
        return _encode({"simulated": True, "answer": text}).decode()
    return text


def embedded_values(fields: Mapping[str, Any]) -> Sequence[Any]:
    """The inputs of an embeddings request, one per vector: texts, or arrays of token numbers."""
    value = fields.get("input")
    if isinstance(value, list) and value and not isinstance(value[0], int):
        return value
    return [value]


def vector_of(value: Any, dimensions: int) -> list[float]:
    """A unit vector that depends on the value alone; it carries no meaning."""
    numbers = _numbers(text_of(value).encode())
    vector = [next(numbers) for _ in range(dimensions)]
    length = math.sqrt(sum(number * number for number in vector)) or 1.0
    return [round(number / length, 8) for number in vector]


def _question(dialect: str, fields: Mapping[str, Any]) -> str:
    if dialect == "completions":
        return text_of(fields.get("prompt"))
    messages = fields.get("messages")
    asked = [message for message in (messages if isinstance(messages, list) else []) if isinstance(message, dict)]
    of_user = [message for message in asked if message.get("role") == "user"] or asked
    content = of_user[-1].get("content") if of_user else ""
    if isinstance(content, list):
        content = " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def text_of(value: Any) -> str:
    """A value as text: itself, its JSON, or nothing."""
    if value is None:
        return ""
    return value if isinstance(value, str) else _encode(value).decode()


def _numbers(seed: bytes) -> Iterator[float]:
    block = 0
    while True:
        digest = hashlib.blake2b(seed, salt=block.to_bytes(16, "big")).digest()
        yield from (int.from_bytes(digest[at : at + 4], "big") / 2**31 - 1 for at in range(0, 64, 4))
        block += 1
