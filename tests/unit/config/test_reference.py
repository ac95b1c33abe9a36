"""The generated page of settings."""

from pathlib import Path

from penstock.config.reference import page, sections

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "config.md"


def test_the_page_is_what_the_schema_says() -> None:
    """Run ``python -m penstock.config.reference > docs/reference/config.md`` when this fails."""
    assert PAGE.read_text("utf-8") == page()


def test_every_setting_has_a_row_with_a_meaning() -> None:
    """In the table of its section, and nothing stands there twice."""
    text = page()
    for prefix, section in sections():
        table = text.split(f"## `{prefix.removesuffix('.')}`\n" if prefix else "## The file\n")[1].split("\n## ")[0]
        for name in section.model_fields:
            (row,) = [line for line in table.splitlines() if line.startswith(f"| `{name}` |")]
            assert all(cell.strip() for cell in (row.split("|")[2], row.split("|")[4]))
