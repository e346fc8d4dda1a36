"""The documents name only what exists, and their tables are those of the code."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_format_page_is_there() -> None:
    assert (ROOT / "docs/format.md").read_text().startswith("# What is on disk")
