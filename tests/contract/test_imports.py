"""Who may import whom, read from the syntax trees; and what two packages both hold, which must be equal."""

import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_wrapper import plan
from hive_session import witness
from hive_session.ondisk import events, layout, records
from hive_session.ondisk.events import decode_event
from hive_session.ondisk.witnesses import read_exit
from hive_session.rotate import tell_rotated
from hive_session.sampler import Sampler

ROOT = Path(__file__).parents[2]
PACKAGES = ("hive_session", "cf_wrapper", "mcp_tcp", "ws_relay")
SHARED = "hive_session.ondisk"  # the only thing that two packages share
WORLDLY = {"portalocker", "typer", "anyio", "subprocess", "asyncio", "socket", "multiprocessing", "threading"}
READERS = ("mcp_tcp", "ws_relay")

# Decisions without a world: what they need of it arrives as arguments.
PURE = (
    "hive_session.ondisk.layout", "hive_session.ondisk.records", "hive_session.ondisk.index",
    "hive_session.ondisk.events", "hive_session.ondisk.fold", "hive_session.ondisk.verdict",
    "hive_session.ondisk.cards", "hive_session.ondisk.figures", "hive_session.ondisk.agent_figures",
    "hive_session.ondisk.settings", "hive_session.ondisk.tokens", "hive_session.ondisk.exposition",
    "hive_session.ondisk.version", "hive_session.ondisk.journal", "hive_session.merged_log",
    "hive_session.suite.environment", "hive_session.suite.misses", "hive_session.suite.top",
    "hive_session.picture", "hive_session.table",
    "hive_session.lifecycle", "hive_session.agents", "hive_session.isolation", "hive_session.words",
    "hive_session.config", "hive_session.errors",
    "hive_session.stream", "hive_session.stream_agents", "hive_session.stream_fields",
    "hive_session.rehearsal_script", "hive_session.rehearsal_plan", "hive_session.rehearsal_lines",
    "cf_wrapper.plan",
    "mcp_tcp.eras", "mcp_tcp.jsonrpc", "mcp_tcp.framing", "mcp_tcp.schemas", "mcp_tcp.shapes",
    "mcp_tcp.tools", "mcp_tcp.listing", "mcp_tcp.session_tools",
    "mcp_tcp.swarm_tools", "mcp_tcp.agent_tools", "mcp_tcp.prompts", "mcp_tcp.settings", "mcp_tcp.metrics",
    "mcp_tcp.conformance", "mcp_tcp.client", "mcp_tcp.lines", "mcp_tcp.proxy.due",
    "mcp_tcp.proxy.log", "mcp_tcp.bridge.handshake", "mcp_tcp.bridge.backoff", "mcp_tcp.bridge.exchange",
    "ws_relay.settings", "ws_relay.counters", "ws_relay.metrics",
)  # fmt: skip
HARMLESS = {
    "__future__", "base64", "bisect", "collections", "dataclasses", "enum", "errno", "functools", "hashlib", "heapq", "hmac",
    "itertools", "json", "math", "orjson", "re", "string", "tomllib", "typing", "unicodedata", "zlib",
}  # fmt: skip
# Modules with a world behind them of which a pure file may use a part: the part.
PARTS = {
    "datetime": {"UTC", "datetime.fromisoformat", "datetime.fromtimestamp"},
    "random": {"random.Random"},
    "sys": {"sys.intern"},
    "time": {"time.gmtime", "time.strftime"},
}
# What stays in memory beside every session.
LEAN = ("runner", "appending", "witness", "proctree", "sampler", "slots", "rotate", "pump")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def running_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes that can run: not what only the type checker sees."""
    yield node
    seen_by_types_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    for child in ast.iter_child_nodes(node):
        if not (seen_by_types_only and isinstance(node, ast.If) and child in node.body):
            yield from running_nodes(child)


@cache
def imports(name: str) -> frozenset[str]:
    """The full names of all modules that a module imports, at its top or later."""
    found = set()
    for node in running_nodes(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            assert node.module is not None
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & MODULES.keys()) or {node.module}
    return frozenset(found)


def ours(name: str) -> set[str]:
    return {each for each in imports(name) if each.split(".")[0] in PACKAGES}


def with_all_it_imports(name: str) -> set[str]:
    """The module and, transitively, every module of ours that it imports, packages included."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each not in found and each in MODULES:
            found.add(each)
            waiting += ours(each)
            waiting += [".".join(each.split(".")[:depth]) for depth in range(1, each.count(".") + 1)]
    return found


def is_shared(name: str) -> bool:
    return name == SHARED or name.startswith(f"{SHARED}.")


def offences(imported: Callable[[str], set[str]]) -> dict[str, set[str]]:
    """What `imported` finds amiss, by module."""
    return {name: amiss for name in MODULES if (amiss := imported(name))}


def test_packages_meet_only_at_the_contract() -> None:
    def foreign(name: str) -> set[str]:
        package = name.split(".")[0]
        others = {each for each in ours(name) if each.split(".")[0] != package}
        return {each for each in others if not (package in READERS and is_shared(each))}

    assert offences(foreign) == {}


def test_the_contract_imports_nothing_but_itself_and_nothing_that_writes_or_starts() -> None:
    def amiss(name: str) -> set[str]:
        tops = {each.split(".")[0] for each in imports(name)}
        return {each for each in ours(name) if not is_shared(each)} | tops & WORLDLY if is_shared(name) else set()

    assert offences(amiss) == {}


def test_the_command_line_is_imported_by_itself_and_by_the_console_script_alone() -> None:
    def of_the_command_line(name: str) -> set[str]:
        inside = name.startswith("hive_session.cli")
        return {each for each in ours(name) if each.startswith("hive_session.cli") and not inside}

    assert offences(of_the_command_line) == {"hive_session.poll": {"hive_session.cli.app"}}


def test_importing_a_package_costs_nothing() -> None:
    for name in ("hive_session", "hive_session.ondisk", "cf_wrapper", "mcp_tcp", "mcp_tcp.bridge"):
        body = tree(name).body
        assert all(isinstance(node, ast.Expr) for node in body), f"{name}/__init__.py does something"


@pytest.mark.parametrize("name", PURE)
def test_pure_files_import_nothing_with_a_world_behind_it(name: str) -> None:
    outside = {each.split(".")[0] for each in imports(name) - ours(name)}
    assert outside <= HARMLESS | PARTS.keys()
    assert ours(name) <= set(PURE)


@pytest.mark.parametrize("name", PURE)
def test_pure_files_use_no_clock_no_chance_and_no_file(name: str) -> None:
    nodes = list(running_nodes(tree(name)))
    used = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
    allowed = {part for parts in PARTS.values() for part in parts}
    assert not {each for each in used if each.split(".")[0] in PARTS and each not in allowed and each.count(".") == 1}
    imported = {
        alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module in PARTS
        for alias in node.names
    }
    assert imported <= {"UTC", "datetime", "intern"}
    called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
    assert not called & {"open", "print", "input", "exec", "eval", "__import__"}
    assert not any(isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.Global) for node in nodes)


@pytest.mark.parametrize("name", LEAN)
def test_what_stays_in_memory_beside_a_session_is_stdlib_only(name: str) -> None:
    modules = with_all_it_imports(f"hive_session.{name}")
    outside = {each.split(".")[0] for module in modules for each in imports(module) - ours(module)}
    assert outside <= sys.stdlib_module_names
    assert not outside & {"typing", "dataclasses", "subprocess", "asyncio", "logging", "json"}  # each is megabytes


def test_the_wrapper_is_stdlib_only() -> None:
    outside = {
        each.split(".")[0] for name in MODULES if name.startswith("cf_wrapper") for each in imports(name) - ours(name)
    }
    assert outside <= sys.stdlib_module_names


def test_the_rules_above_see_the_modules_they_are_about() -> None:
    assert {*PURE, *(f"hive_session.{name}" for name in LEAN)} <= MODULES.keys()
    assert "orjson" in imports("hive_session.ondisk.events")  # within a function
    assert "hive_session.cli.app" in imports("hive_session.poll")
    assert "collections.abc" not in imports("hive_session.ondisk.layout")  # seen by types only
    assert {"hive_session.proctree", "hive_session.witness"} <= with_all_it_imports("hive_session.runner")


# -- what two packages both hold ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CONTAINER_WORKSPACE", "SWARM", "ROOT_INSTANCE"])
def test_the_wrapper_and_the_layout_use_the_same_names(name: str) -> None:
    assert getattr(plan, name) == getattr(layout, name)


ENVIRONMENTS: tuple[dict[str, str], ...] = (
    {},
    {"HIVE_WORKSPACE": ""},
    {"HIVE_WORKSPACE": "/"},
    {"HIVE_WORKSPACE": "//"},
    {"HIVE_WORKSPACE": "/w"},
    {"HIVE_WORKSPACE": "/w///"},
    {"HIVE_WORKSPACE": "relative/"},
    {"HIVE_WORKSPACE": "/workspace/"},
    {"HIVE_WORKSPACE": " "},
)
LOOKS: tuple[Callable[[str], bool], ...] = (lambda path: True, lambda path: False, lambda path: path == "/workspace")


@pytest.mark.parametrize("env", ENVIRONMENTS, ids=str)
@pytest.mark.parametrize("exists", LOOKS)
def test_the_wrapper_and_the_layout_mean_the_same_workspace(env: dict[str, str], exists: Callable[[str], bool]) -> None:
    workspace = layout.default_workspace(env, "/h", exists)
    assert plan.default_workspace(env, "/h", exists) == workspace
    shared = layout.Layout(workspace, "", "")
    assert plan.shared_places(workspace) == (shared.workspace, shared.swarm)
    assert plan.root_instance(workspace) == f"{shared.swarm}/{layout.ROOT_INSTANCE}"
    inside = {"HIVE_SESSION_ID": "550e8400-e29b-41d4-a716-446655440000"}
    assert plan.session_directory(workspace, inside) == shared.session(inside["HIVE_SESSION_ID"]).dir


@given(st.text(max_size=12), st.text(max_size=8), st.booleans())
def test_no_text_parts_the_wrapper_s_workspace_from_the_layout_s(chosen: str, home: str, there: bool) -> None:
    for env in ({"HIVE_WORKSPACE": chosen}, {"OTHER": chosen}):
        both = {each.default_workspace(env, home, lambda path: there) for each in (plan, layout)}
        assert len(both) == 1


def test_records_and_events_know_the_same_statuses() -> None:
    assert records.STATUSES == events.SESSION_STATUSES
    assert set(records.TERMINAL) == events.ENDED_SESSION_STATUSES


# -- what the lean programs write by hand ------------------------------------------------------------------------------


def sampled(**figures: int) -> Sampler:
    found = Sampler()
    for name, value in figures.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize("figure", [0, 1, events.MAX_INT])
def test_a_sample_is_an_event_of_the_format(figure: int) -> None:
    names = ("cpu_ms", "rss_bytes", "read_bytes", "write_bytes", "processes")
    line = sampled(**dict.fromkeys(names, figure)).line(now_s=1e6, ts_ms=1_795_345_042_001)
    assert line.endswith("\n") and line.count("\n") == 1
    event = decode_event(line.encode())
    assert event == {"ts": 1_795_345_042_001, "type": "resources", **dict.fromkeys(names, figure)}
    assert {field.name for field in events.EVENTS["resources"]} == set(names)


def test_the_totals_of_a_run_are_the_fields_of_its_record() -> None:
    totals = dict(word.split("=") for word in Sampler().totals())
    assert records.ResourceUsage(**{name: int(value) for name, value in totals.items()}) == records.ResourceUsage()
    assert totals.keys() == set(inspect.signature(records.ResourceUsage).parameters)


def test_a_rotation_tells_of_itself_in_an_event_of_the_format(tmp_path: Path) -> None:
    telemetry = tmp_path / "telemetry.jsonl"
    tell_rotated(str(telemetry), 52_428_800)
    tell_rotated(str(telemetry), 104_857_600)
    told: list[dict[str, Any]] = [decode_event(line) for line in telemetry.read_bytes().splitlines(keepends=True)]
    assert [(event["type"], event["base"]) for event in told] == [
        ("log_rotated", 52_428_800),
        ("log_rotated", 104_857_600),
    ]


@pytest.mark.parametrize(("code", "by"), [(0, 0), (7, 0), (137, 9)])
def test_whoever_judges_the_end_reads_what_a_witness_wrote(tmp_path: Path, code: int, by: int) -> None:
    path = tmp_path / "exit"
    witness.write_exit(str(path), attempt=3, code=code, signal_number=by)
    seen = read_exit(str(path), attempt=3)
    assert seen is not None and (seen.exit_code, seen.signal) == (code, by or None)
    assert read_exit(str(path), attempt=2) is None
    assert path.stat().st_size == witness.EXIT_BYTES
