"""``${NAME}``: what the environment puts into the file."""

from pathlib import Path

import pytest

from tests.support.configs import loaded, mistakes

ALIAS = "models: {m: {deployments: [{provider: sim}], aliases: {a: {x: VALUE}}}}\n"


def filled(written: str, directory: Path, environ: dict[str, str]) -> object:
    """What ``written`` comes to as a value in the file."""
    return loaded(ALIAS.replace("VALUE", written), directory, environ).models["a"].fields.get("x")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${A}", "one"),
        ("'${A}'", "one"),
        ('"<${A}-${B}>"', "<one-two words>"),
        ("${NOWHERE:-else}", "else"),
        ("${EMPTY:-else}", "else"),
        ("${A:-else}", "one"),
        ("'${EMPTY}'", ""),
        ("${EMPTY}", None),
        ("${NOWHERE:-}", None),
        ("${NUMBER}", 5),
        ("'${NUMBER}'", "5"),
        ("$$", "$"),
        ("'$${A}'", "${A}"),
        ("$A", "$A"),
        ("'a$'", "a$"),
        ("${YAML}", "{a: [b], *c: 'd'} # e"),
        ("${AGAIN}", "${A}"),
    ],
)
def test_references_are_filled_in_anywhere(written: str, value: object, tmp_path: Path) -> None:
    """Words of the environment are never YAML and never references themselves."""
    environ = {
        "A": "one",
        "B": "two words",
        "EMPTY": "",
        "NUMBER": "5",
        "YAML": "{a: [b], *c: 'd'} # e",
        "AGAIN": "${A}",
    }
    assert filled(written, tmp_path, environ) == value


def test_every_unset_variable_of_a_value_is_named(tmp_path: Path) -> None:
    """One mistake each."""
    lines = mistakes("server: {secret: '${ONE}${TWO}${ONE}'}\n", tmp_path)
    assert [line.split()[5] for line in lines] == ["ONE", "TWO"]


def test_references_in_comments_mean_nothing(tmp_path: Path) -> None:
    """A setting commented out needs no variable."""
    assert loaded("# ${NOWHERE}\ncurrency: CNY  # ${NOWHERE}\n", tmp_path).currency == "CNY"


@pytest.mark.parametrize("made_up", ["\\uE0000\\uE001", "\\uE0009999999\\uE001", "\\uE000" + "9" * 50 + "\\uE001"])
def test_a_made_up_mark_stands_for_itself(made_up: str, tmp_path: Path) -> None:
    """Escapes that imitate the marks that references leave fill nothing in."""
    text = f'"{made_up}"'
    assert filled(text, tmp_path, {}) == made_up.encode().decode("unicode_escape")


def test_a_private_use_character_is_refused(tmp_path: Path) -> None:
    """The marks cannot stand in the file itself."""
    assert mistakes("store: memory\nx: \ue000\n", tmp_path) == ["2: a private-use character stands here; remove it"]
