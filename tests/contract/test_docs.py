"""The documents name only what exists, and their tables are those of the code."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest
import typer
from typer.testing import CliRunner

from hive_session import witness
from hive_session.cleanup import empty_trash
from hive_session.cli.app import SOFTWARE, app
from hive_session.cli.context import CODES
from hive_session.config import SETTINGS, CommandAgent, Config, resolve_config
from hive_session.create import TASK_MAX_BYTES
from hive_session.isolation import WITHHELD, session_environment
from hive_session.lifecycle import RESUMABLE, TRANSITIONS
from hive_session.listing import COLUMNS
from hive_session.ondisk.index import Row, encode_index
from hive_session.ondisk.journal import entry
from hive_session.ondisk.layout import Layout, SessionPaths
from hive_session.ondisk.records import (
    PRIORITIES,
    REASONS,
    STATUSES,
    BadRecord,
    ResourceUsage,
    SessionRecord,
    Usage,
    decode_session,
)
from hive_session.reconcile import Report, record_report
from hive_session.recovery import Resumed
from hive_session.store import Store
from mcp_tcp import settings as mcp_settings
from ws_relay import settings as ws_settings

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
FORMAT = ROOT / "docs/format.md"
CLIENTS = ROOT / "docs/clients.md"
OPERATIONS = ROOT / "docs/operations.md"
SECURITY = ROOT / "docs/security.md"
DOCUMENTS = (README, FORMAT, CLIENTS, OPERATIONS, SECURITY, ROOT / "docs/viewers.md", ROOT / "docs/decisions.md")
ID = "550e8400-e29b-41d4-a716-446655440000"
LEAST = {"session_id": ID, "status": "created", "task": "x", "created": "2026-11-22T09:31:07+00:00"}
PLACES = ("working_dir", "output_dir", "database", "log_file")
GROUP: Any = typer.main.get_command(app)  # typer's own class of a group is private
OPTION = re.compile(r"(?<![\w<-])--[a-z]+(?:-[a-z]+)*(?![\w-])")
FOREIGN_OPTIONS = {"--env", "--cli", "--method", "--tool-name", "--tool-arg"}  # of claude and of the Inspector
FOREIGN_OPTIONS |= {"--check"}  # of hive-health
FOREIGN_OPTIONS |= {"--format", "--no-stream", "--tail"}  # of docker
EVERYWHERE = {"--help", *(name for param in GROUP.params for name in param.opts)}

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def section(document: Path, heading: str) -> str:
    """What stands below a heading, up to the next of the same or a higher level."""
    level = heading.partition(" ")[0]
    after = text_of(document).partition(f"\n{heading}\n")[2]
    assert after, f"{document.name} has no {heading!r}"
    return re.split(rf"\n#{{1,{len(level)}}} ", after)[0]


def table(text: str, *heads: str) -> list[list[str]]:
    """The cells below the heads of the one table that has these."""
    after = text.partition(f"| {' | '.join(heads)} |\n".replace("  ", " "))[2]
    assert after, f"no table with the heads {heads}"
    rows = after.split("\n\n")[0].strip().split("\n")[1:]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def code_lines(text: str) -> Iterator[str]:
    """Each line of a code block, and each piece of code within a sentence."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S)
    for block in blocks:
        yield from block.split("\n")
    yield from quoted(re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.M | re.S))


def passes_on(command: str) -> bool:
    """True for `start` and `resume`: options they do not know are the agent's."""
    return any(param.name == "args" for param in GROUP.commands[command].params)


def options_of(command: str) -> set[str]:
    return EVERYWHERE | {name for param in GROUP.commands[command].params for name in param.opts}


def unknown_words(line: str) -> set[str]:
    """The commands and options that a line of code names and that do not exist."""
    found = set()
    for command, rest in re.findall(r"\bhive-session ([a-z][a-z-]*)([^|;&#)]*)", line):
        if command not in GROUP.commands:
            found.add(command)
        elif not passes_on(command):
            found |= set(OPTION.findall(rest)) - options_of(command)
    first, _, rest = line.partition(" ")
    if first in GROUP.commands and not passes_on(first):
        found |= set(OPTION.findall(rest)) - options_of(first)
    return found


# -- commands ----------------------------------------------------------------------------------------------------------


def test_the_check_below_sees_what_does_not_exist() -> None:
    assert unknown_words("$ hive-session begin x") == {"begin"}
    assert unknown_words("id=$(hive-session create --colour red x)") == {"--colour"}
    assert unknown_words("ls --json | hive-session list --json") == {"--json"}
    assert unknown_words("hive-session start $id --max-workers 8") == set()
    assert unknown_words("hive-session logs -f $id; hive-session ls --label a=b --status failed") == set()
    assert OPTION.findall("a --writes--> b <--read-- c --real d") == ["--real"]


@each_document
def test_every_command_that_a_document_names_exists(document: Path) -> None:
    lines = list(code_lines(text_of(document)))
    assert lines
    assert {word for line in lines for word in unknown_words(line)} == set()


@each_document
def test_every_option_that_a_document_names_exists(document: Path) -> None:
    known = {name for command in GROUP.commands for name in options_of(command)} | FOREIGN_OPTIONS
    known.update(
        option for path in (ROOT / "mcp_tcp").rglob("*.py") for option in re.findall(r'"(--[a-z-]+)"', text_of(path))
    )
    for script in [*(ROOT / "bin").iterdir(), *(ROOT / "hive_session" / "suite").glob("*.py")]:
        known.update(OPTION.findall(text_of(script)))
    assert set(OPTION.findall(text_of(document))) <= known


@each_document
def test_every_file_that_a_document_names_is_there(document: Path) -> None:
    text = text_of(document)
    linked = {document.parent / target for target in re.findall(r"\]\(([^)#:]+)\)", text)}
    named = {ROOT / name for name in re.findall(r"`((?:bin|docs|bench|etc|tests|hive_session)/[\w./-]+)`", text)}
    missing = {str(path) for path in linked | named if not path.exists()}
    assert missing - {str(ROOT / "bin/")} == set()


@each_document
def test_every_variable_that_a_document_names_is_one_that_the_code_knows(document: Path) -> None:
    packages = ("hive_session", "cf_wrapper", "mcp_tcp", "ws_relay")
    files = [path for name in packages for path in (ROOT / name).rglob("*.py")]
    files += [ROOT / "compose.yaml", ROOT / "Dockerfile", ROOT / "etc/container/entrypoint"]
    code = "".join(map(text_of, files))
    named = set(re.findall(r"\b(?:HIVE|MAX|CLAUDE|XDG|DOCKER|HOST|TCP|WS|MCP)_[A-Z_]+[A-Z]\b", text_of(document)))
    assert {name for name in named if name not in code} == set()


@pytest.mark.parametrize("program", [mcp_settings, ws_settings], ids=lambda module: module.TABLE)
def test_every_setting_of_a_server_is_in_its_table_and_the_other_way_round(program: ModuleType) -> None:
    table = section(FORMAT, "## The configuration file").partition(f"`[{program.TABLE}]`")[2].partition("`[")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\S+) \|", table, re.MULTILINE)
    defaults = program.Settings()
    assert {key: variable for key, variable, _ in rows} == {key: found[0] for key, found in program.SETTINGS.items()}
    for key, _, default in rows:
        value = getattr(defaults, key)
        said = "false" if value is False else str(value or "none").removesuffix(".0")
        assert default == said, key


HELP = {name: CliRunner().invoke(app, [name, "--help"], terminal_width=120).output for name in GROUP.commands}


@pytest.mark.parametrize("name", HELP)
def test_a_help_leads_with_examples_that_exist_and_ends_with_exit_codes(name: str) -> None:
    examples = re.findall(r"^ +(hive-session .*)$", HELP[name].partition("Examples:")[2].partition("\n\n")[0], re.M)
    assert examples
    assert all(unknown_words(example) == set() for example in examples)
    codes = re.findall(r"^ +(\d+)  ", HELP[name].partition("Exit codes:")[2].partition("\n\n")[0], re.M)
    assert codes and set(map(int, codes)) <= {*CODES, 124}


def test_the_help_lists_all_commands() -> None:
    output = CliRunner().invoke(app, ["--help"]).output
    assert [name for name in GROUP.commands if not re.search(rf"^  {name}  ", output, re.M)] == []


# -- README ------------------------------------------------------------------------------------------------------------


def test_the_readme_has_every_exit_code_and_no_other() -> None:
    rows = table(section(README, "## Exit codes"), "code", "meaning")
    numbered = [(cell, meaning) for cell, meaning in rows if cell[0].isdigit()]
    codes = [int(code) for cell, _ in numbered for code in cell.split(", ")]
    assert codes == sorted({*CODES, SOFTWARE})
    assert {meaning for _, meaning in numbered} >= {CODES[code] for code in (0, 1, 2, 65)}


def test_the_readme_s_list_of_sessions_has_the_columns_of_the_real_one() -> None:
    assert re.search(r"^" + r" +".join(COLUMNS) + r"$", text_of(README), re.M)


# -- docs/format.md ----------------------------------------------------------------------------------------------------


def record_rows() -> list[tuple[str, str, str]]:
    rows = table(section(FORMAT, "## session.json"), "field", "type", "meaning")
    return [(name, kind, meaning) for names, kind, meaning in rows for name in quoted(names)]


def meaning_of(field: str) -> str:
    return next(meaning for name, _, meaning in record_rows() if name == field)


def test_the_fields_of_a_record_are_those_of_its_table_in_its_order() -> None:
    assert [name for name, _, _ in record_rows()] == [f.name for f in fields(SessionRecord) if f.name != "extra"]


SAMPLES: dict[str, tuple[list[Any], list[Any]]] = {  # what a documented type takes, and what it does not
    "str": (["x"], [5, ["x"], True]),
    "int": ([1], ["1", 1.5, True]),
    "bool": ([True], ["true", 1]),
    "time": (["2026-11-22T09:31:07+00:00"], [1795345867]),
    "path": (["/w"], [5]),
    "number": ([1, 1.5], ["1", True]),
    "object or null": ([{"a": 1}, None], []),  # the original let anything in
    "list of str": ([["a"], []], ["a", [1], {"a": "b"}]),
    "object of str": ([{"a": "b"}, {}], [["a"], {"a": 1}]),
    "object": ([{}], [[1], "x", 5]),
}


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kind, _ in record_rows()])
def test_a_field_holds_what_its_table_says(name: str, kind: str) -> None:
    least = {**LEAST, **dict.fromkeys(PLACES, "/w")}
    good, bad = SAMPLES[kind]
    for value in [ID] if name == "session_id" else good:
        decode_session(orjson.dumps({**least, name: value}), "p")
    for value in bad:
        with pytest.raises(BadRecord, match=name if name != "rusage" else "resourceusage"):
            decode_session(orjson.dumps({**least, name: value}), "p")


def test_the_words_that_a_record_may_hold_are_those_of_its_table() -> None:
    assert quoted(meaning_of("status")) == list(STATUSES)
    assert quoted(meaning_of("priority")) == list(PRIORITIES)
    assert quoted(meaning_of("reason")) == list(REASONS)
    assert f"at most {TASK_MAX_BYTES >> 20} MiB" in meaning_of("task")


@pytest.mark.parametrize(("field", "kind"), [("usage", Usage), ("rusage", ResourceUsage)])
def test_the_figures_of_a_record_are_those_of_its_table(field: str, kind: type[Any]) -> None:
    assert quoted(meaning_of(field)) == [f.name for f in fields(kind)]


def test_the_changes_of_status_are_those_of_the_table() -> None:
    changes: dict[str, tuple[str, ...]] = {}
    for before, after in table(section(FORMAT, "## session.json"), "from", "to"):
        targets = () if after.startswith("nothing but ") else tuple(after.split(", "))
        changes |= dict.fromkeys(before.split(", "), targets)
        if not targets:
            assert before.split(", ") == list(RESUMABLE) and "`resume`" in after
    assert changes == TRANSITIONS


def test_the_fields_of_a_row_are_those_of_its_table_in_its_order() -> None:
    rows = table(section(FORMAT, "## index.json"), "field", "type", "meaning")
    assert [name for names, _, _ in rows for name in quoted(names)] == list(Row.__annotations__)


def test_the_index_is_laid_out_as_described() -> None:
    layout = next(row[1] for row in table(section(FORMAT, "## index.json"), "", "") if row[0] == "layout")
    opening, closing = quoted(layout)
    row: Row = {"task": "x", "status": "created", "created": "2026", "updated": "2026", "dir": "/w"}
    lines = encode_index("2026", {ID: row, ID.replace("5", "6"): row}).decode().split("\n")
    assert lines[0] == opening.replace("…", '"2026"') and lines[-2:] == [closing, ""]
    assert len(lines) == 5


def test_a_session_s_files_are_those_of_the_tables() -> None:
    text = section(FORMAT, "## The other files of a session")
    cells = [row[0] for row in table(text, "file", "writer", "readers", "what it holds")]
    named = {word.rstrip("/") for cell in cells for spans in quoted(cell) for word in spans.split()}
    paths = Layout("/w", "/o", "/l").session(ID)
    properties = [name for name, value in vars(SessionPaths).items() if isinstance(value, property)]
    inside = {getattr(paths, name).removeprefix(f"{paths.dir}/").split("/")[0] for name in properties}
    inside = {name for name in inside if name}  # but the log and the output directory, which are elsewhere
    assert inside - named == {"session.json"}
    assert "hive-<id>.log" in text_of(FORMAT) and Path(paths.log).name == f"hive-{ID}.log"


def test_the_shared_places_are_those_of_the_picture() -> None:
    picture = text_of(FORMAT).partition("```\n")[2].partition("```")[0]
    layout = Layout("/w", "/o", "/l")
    for name in ("swarm", "sessions", "index", "index_lock", "trash", "audit", "reconciled", "slots"):
        assert re.search(rf"(?<![\w.]){re.escape(Path(getattr(layout, name)).name)}\b", picture), name


def test_an_exit_file_holds_what_is_described(tmp_path: Path) -> None:
    witness.write_exit(str(tmp_path / "exit"), attempt=1, code=0, signal_number=0)
    rows = table(section(FORMAT, "## The other files of a session"), "file", "writer", "readers", "what it holds")
    described = next(row[3] for row in rows if row[0] == "`exit`")
    assert re.findall(r'"(\w+)":', described) == list(orjson.loads((tmp_path / "exit").read_bytes()))


def test_a_line_of_the_audit_file_holds_what_is_described(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path), "/o", "/l")
    buried = Path(layout.trash, f"{ID}.1795345867000")
    buried.mkdir(parents=True)
    (buried / "session.json").write_bytes(orjson.dumps({**LEAST, **dict.fromkeys(PLACES, "/w")}))
    assert empty_trash(layout, now=1_795_345_867.0) == [ID]
    described = section(FORMAT, "## Cleanup and audit.jsonl").partition("never rewritten): ")[2]
    assert quoted(described) == list(orjson.loads(Path(layout.audit).read_bytes()))


def test_a_report_of_reconcile_holds_what_its_table_says(tmp_path: Path) -> None:
    store = Store(Layout(str(tmp_path), "/o", "/l"), lambda: 1_795_345_867.0)
    Path(store.layout.swarm).mkdir()
    record_report(store, Report(halves=["/w/half"], resume=Resumed()))
    rows = table(section(FORMAT, "## Reconcile and reconcile.json"), "field", "type", "meaning")
    report = Path(store.layout.reconciled).read_bytes()
    assert sorted(name for names, _, _ in rows for name in quoted(names)) == sorted(orjson.loads(report))
    assert Path(store.layout.audit).read_bytes() == orjson.dumps(orjson.loads(report)) + b"\n"


def test_an_event_of_a_program_s_log_holds_what_its_table_says() -> None:
    rows = table(section(FORMAT, "## Logs of the programs"), "field", "type", "meaning")
    event = entry("ws-relay", "x", now_s=0.0, pid=1, exception="y")
    assert [name for names, _, _ in rows for name in quoted(names)] == list(orjson.loads(event))


def test_the_settings_are_those_of_the_table_with_their_defaults() -> None:
    rows = table(section(FORMAT, "## The configuration file"), "key", "variable", "default", "meaning")
    documented = [(quoted(key)[0], quoted(variable)[0]) for key, variable, _, _ in rows]
    assert documented == [(key, variable) for variable, key, _ in SETTINGS.values()]
    config = Config(layout=Layout("/w", "/o", "/l"))
    for name, (_, _, default, _) in zip(SETTINGS, rows, strict=True):
        value = getattr(config, name)
        if value is not None:
            assert default.strip("`") == (f"{value:g}" if isinstance(value, float) else str(value))
        else:
            assert " " in default  # a sentence about what is found on the machine


def test_an_agent_of_the_file_has_the_keys_that_are_described() -> None:
    described = section(FORMAT, "## The configuration file").partition("`[agents.NAME]`: ")[2]
    keys = [word for word in quoted(described) if re.fullmatch(r"[a-z_]+", word)]
    assert keys == [f.name for f in fields(CommandAgent) if f.name != "name"]
    text = '[agents.x]\nargv = ["{task}"]\nstdin = "task"\nenv = {}\nruns_claude = true'
    assert resolve_config({}, text, "f", "/h", lambda path: False).agents["x"].runs_claude


def test_an_agent_s_environment_is_the_one_described() -> None:
    described = section(FORMAT, "## What an agent finds in its environment")
    named = {name for name in re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", described) if len(name) > 3 and name != "JSON"}
    layout = Layout("/w", "/o", "/l")
    found = session_environment(
        dict.fromkeys(WITHHELD, "x"),
        layout,
        layout.session(ID),
        attempt=1,
        programs={"HIVE_CLAUDE_BIN": "/c", "HIVE_CLAUDE_FLOW_BIN": "/f"},
        agent_env={},
        own_env={},
        shares_login=False,
    )
    assert named == set(found)


# -- docs/security.md --------------------------------------------------------------------------------------------------


def test_every_test_that_holds_a_claim_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text_of(SECURITY))
    assert len(named) == text_of(SECURITY).count("::test_") - 1  # but the one that says what they look like
    assert [name for path, name in named if f"def {name}(" not in text_of(ROOT / path)] == []
