"""manpages: from the words of a help to roff, whatever the words are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.manpages import commands_of, escape, page, sections

HELP = """\
usage: tool [-h] [--port N]
            [WORD]

Does a thing.
It does it well.

options:
  -h, --help  show this
  --port N    where it listens;
              0 is a free one

try:  tool --port 0
Exit codes: 0 done | 2 usage.

examples:
  tool x      says x

Variables decide the rest."""


def test_each_line_goes_to_the_section_of_its_heading() -> None:
    assert sections("tool", HELP) == {
        "SYNOPSIS": ["       tool [-h] [--port N]", "            [WORD]"],
        "DESCRIPTION": [
            "",
            "Does a thing.",
            "It does it well.",
            "",
            "try:  tool --port 0",
            "Variables decide the rest.",
        ],
        "OPTIONS": ["  -h, --help  show this", "  --port N    where it listens;", "              0 is a free one", ""],
        "EXIT STATUS": ["0 done | 2 usage.", ""],
        "EXAMPLES": ["  tool x      says x", ""],
    }


def test_options_become_entries_and_examples_stay_as_they_are() -> None:
    text = page("tool", "do a thing", HELP, ["other", "tool"])
    assert "\n.TP\n\\fB\\-\\-port N\\fP\nwhere it listens;\n0 is a free one\n" in text
    assert "\n.SH EXAMPLES\n.nf\ntool x      says x\n.fi\n" in text
    assert text.endswith("\n.SH SEE ALSO\n.BR other (1)\n")


def test_the_commands_of_both_kinds_of_help_are_found() -> None:
    click = "Commands:\n  init    Make it.\n  ls      List it,\n          all of it.\n"
    argparse = "positional arguments:\n  COMMAND\n    start   begin; go\n            on\n    stop    end\n\noptions:\n  -h  help\n"
    assert commands_of(click) == {"init": "Make it.", "ls": "List it, all of it."}
    assert commands_of(argparse) == {"start": "begin; go on", "stop": "end"}
    assert commands_of(HELP) == {}


@pytest.mark.parametrize(
    ("text", "roff"),
    [("a\\b", "a\\(rsb"), (".SH x", "\\&.SH x"), ("'x", "\\(aqx"), ("--a", "\\-\\-a"), ("…", "\\[u2026]")],
)
def test_what_roff_would_take_for_its_own_is_written_otherwise(text: str, roff: str) -> None:
    assert escape(text) == roff


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_no_text_is_a_request_and_all_is_ascii(text: str) -> None:
    written = page("tool", "do a thing", f"usage: tool\n\n{text}\n")
    assert written.isascii()
    requests = {line.split()[0] for line in written.splitlines() if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".PP", ".TP", ".RS", ".RE", ".nf", ".fi"}
