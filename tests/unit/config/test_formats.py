"""URLs, names, credentials and stores as the file spells them."""

from collections.abc import Callable

import pytest

from penstock.config import formats
from penstock.config.settings import Secret


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (formats.parse_text, "深度求索", "深度求索"),
        (formats.parse_label, "", ""),
        (formats.parse_model_name, "deepseek-ai/DeepSeek-V4:free", "deepseek-ai/DeepSeek-V4:free"),
        (formats.parse_provider_name, "own_1.b-C", "own_1.b-C"),
        (formats.parse_currency, "CNY", "CNY"),
        (formats.parse_credential, " sk-1\n", Secret("sk-1")),
        (formats.parse_sha256, "aB" * 32, "ab" * 32),
        (formats.parse_header_name, "X-Team", "x-team"),
        (formats.parse_header_value, "blue team", Secret("blue team")),
        (formats.parse_base_url, "https://h:1/v1//", "https://h:1/v1"),
        (formats.parse_proxy, "http://u:p@h:1080", Secret("http://u:p@h:1080")),
        (formats.parse_origin, "*", "*"),
        (formats.parse_origin, "https://App.example.com", "https://app.example.com"),
        (formats.parse_network, "10.1.2.3/8", "10.0.0.0/8"),
        (formats.parse_network, "::1", "::1"),
        (formats.parse_store, "sqlite:/var/lib/p.db", "sqlite:/var/lib/p.db"),
        (formats.parse_store, "postgresql://u:p@h1,h2/d?sslmode=require", "postgresql://u:p@h1,h2/d?sslmode=require"),
        (formats.parse_tag, "feature=a=b", "feature=a=b"),
    ],
)
def test_what_is_right_is_read(parse: Callable[[str], object], text: str, value: object) -> None:
    """In one spelling, whatever it was written in."""
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *((formats.parse_text, text) for text in ("", "a\nb", "a\x1b[0m", "x" * 4097)),
        *((formats.parse_model_name, text) for text in ("", "a b", "\u3000a")),
        *((formats.parse_provider_name, text) for text in ("", "a/b", "-a", "ä", "a" * 65)),
        *((formats.parse_currency, text) for text in ("", "cny", "YUAN", "C1Y")),
        *((formats.parse_credential, text) for text in ("", " ", "a b", "a\r\nX: y", "é", "x" * 8193)),
        *((formats.parse_sha256, text) for text in ("", "g" * 64, "0" * 63)),
        *((formats.parse_header_name, text) for text in ("", "a b", "a:", "Content-Length", "Transfer-Encoding")),
        *((formats.parse_header_value, text) for text in ("a\r\nX: y", "\x00", "é")),
        *(
            (formats.parse_base_url, text)
            for text in (
                "",
                "h",
                "ftp://h",
                "http://",
                "http://h:x",
                "http://h:0",
                "http://[::1",
                "http://h/?q",
                "http://ä",
            )
        ),
        *((formats.parse_proxy, text) for text in ("", "h:3128", "file:///x", "https://h", "socks5://h:1080")),
        *((formats.parse_origin, text) for text in ("", "null", "https://h/", "https://u@h")),
        *((formats.parse_network, text) for text in ("", "h", "10.0.0.0/33", "10.0.0")),
        *((formats.parse_store, text) for text in ("", "sqlite:", "sqlite::memory:", "mysql:x")),
        *((formats.parse_store, text) for text in ("postgres://h", "postgresql:d", "postgresql://u@/d")),
        *((formats.parse_tag, text) for text in ("", "a", "=b", "a=", " a=b")),
    ],
)
def test_anything_else_is_refused_with_a_cure(parse: Callable[[str], object], text: str) -> None:
    """The sentence says what is wrong, then what to do."""
    with pytest.raises(ValueError, match=r"^(is|has|ends|names) .+; .+"):
        parse(text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://h/v1", "https://h:443/x", True),
        ("http://H", "http://h:80", True),
        ("http://h", "https://h", False),
        ("https://h:8443", "https://h", False),
        ("https://h.example", "https://h", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str, *, same: bool) -> None:
    """The path is none of it."""
    assert (formats.origin(one) == formats.origin(other)) is same


def test_a_secret_prints_as_stars_in_every_way() -> None:
    """Only ``reveal`` gives it."""
    secret = Secret("canary")
    assert {str(secret), repr(secret), f"{secret}", f"{secret:>9}", f"{secret!r}", f"{[secret]}"} == {"***", "[***]"}
    assert secret.reveal() == "canary"
