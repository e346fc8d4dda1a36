"""docs/operations.md: each command in it runs against a real suite; those for docker have words that exist (tests/container)."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hive_session.suite.environment import PORTS
from tests.contract.test_docs import OPERATIONS, ROOT, quoted, section, table, text_of
from tests.integration.hive import until
from tests.integration.supervised import Supervised

NAME = "multi-agent-container"
# Of docker, as far as the document uses it: the command and its options.
DOCKER: dict[str, set[str]] = {
    "compose build": set(),
    "compose ps": set(),
    "compose restart": set(),
    "compose stop": set(),
    "compose up": {"-d"},
    "exec": {"-it"},
    "inspect": {"--format"},
    "logs": {"--tail"},
    "ps": set(),
    "stats": {"--no-stream"},
}
ELSEWHERE = ("docker ", "git pull", "bin/setup")  # an engine; the network; this very checkout's .venv
SECTION_S = 150.0  # a section has up to a dozen calls

pytestmark = pytest.mark.timeout(240)

TASK = "Try the commands of the book"


def blocks(text: str) -> list[list[str]]:
    """The commands of each code block, without their comments."""
    found = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [re.findall(r"^\$ (.*?)(?: {2,}#.*)?$", block, re.MULTILINE) for block in found]


def sections(text: str) -> dict[str, list[list[str]]]:
    """The same by the heading that they stand below."""
    parts = re.split(r"^#{1,3} (.*)\n", text, flags=re.MULTILINE)[1:]
    return {name: blocks(part) for name, part in zip(parts[::2], parts[1::2], strict=True) if blocks(part)}


SECTIONS = sections(text_of(OPERATIONS))
PRELUDE = SECTIONS["Operations"][0]
COMMANDS = [command for found in SECTIONS.values() for block in found for command in block]
IN_DOCKER = sorted({command for command in COMMANDS if command.startswith("docker ")} | {
    word for word in quoted(re.sub(r"^```\n.*?^```$", "", text_of(OPERATIONS), flags=re.MULTILINE | re.DOTALL))
    if word.startswith("docker ") and word != f"docker exec {NAME}"
})  # fmt: skip


def script(commands: Sequence[str]) -> str:
    """The commands that can run here, each of which must succeed."""
    own = [each for each in commands if not each.startswith(ELSEWHERE)]
    # With 1 tar says what the document warns of: a file changed. A log may do so at any moment.
    own = [f"{each} || [ $? = 1 ]" if each.startswith("tar -c") else each for each in own]
    return "\n".join(["set -e -o pipefail", *PRELUDE, *own])


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    root = tmp_path_factory.mktemp("site")
    root.chmod(0o755)
    with Supervised(root / "h", MAX_CONCURRENT_SESSIONS="4") as suite:
        yield suite


@pytest.fixture
def suite(lasting: Supervised) -> Supervised:
    """A suite that runs, with one session of the rehearsal's that has ended: `$id`."""
    lasting.up()
    if "id" not in lasting.env:
        session = lasting.do("hive-session", "create", "--agent", "rehearsal", TASK).stdout.strip()
        assert lasting.do("hive-session", "start", session, "--seconds", "0").returncode == 0
        lasting.env["id"] = session
    lasting.ended(lasting.env["id"])  # a section may have resumed it
    lasting.all_gone(lasting.env["id"])
    return lasting


def run(suite: Supervised, commands: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The commands as one script in a copy of the checkout's place, with the suite's words first on PATH."""
    call = ["bash", "-c", script(commands)]
    pipe = subprocess.PIPE
    return subprocess.run(
        call, env=suite.env, cwd=suite.root, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True,
        timeout=SECTION_S, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_commands_of_a_section_succeed(suite: Supervised, heading: str) -> None:
    commands = [command for block in SECTIONS[heading] for command in block]
    for foreign in ("ss", "findmnt", "curl"):
        if any(command.startswith(f"{foreign} ") for command in commands):
            assert shutil.which(foreign), f"{foreign} is missing"
    done = run(suite, commands)
    assert done.returncode == 0, done


def test_every_section_with_a_symptom_says_what_to_do() -> None:
    symptoms = re.findall(r"^### (.*)$", section(OPERATIONS, "## By symptom"), re.MULTILINE)
    assert set(symptoms) - set(SECTIONS) <= {"The clock jumped"}


def test_a_line_that_fails_fails_the_section(suite: Supervised) -> None:
    assert run(suite, ["hive-session get no-such-session", "true"]).returncode == 1
    assert run(suite, ["hive-session no-such-command | cat", "true"]).returncode == 2
    assert blocks("```\n$ a b      # c\nd\n$ e\n```\n") == [["a b", "e"]]


# -- what needs an engine ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", IN_DOCKER)
def test_the_words_for_docker_exist(command: str) -> None:
    words = shlex.split(command)[1:]
    verb = " ".join(words[:2]) if words[0] == "compose" else words[0]
    rest = words[len(verb.split()) :]
    own, _, inner = " ".join(rest).partition(f"{NAME} ")
    assert {word for word in own.split() if word.startswith("-")} <= DOCKER[verb], command
    if verb == "exec":
        program, *_ = inner.split()
        assert program in ("bash", "cat", "rm", "supervisorctl") or program.startswith("/app/scripts/")
        if program.startswith("/app/scripts/"):
            assert (ROOT / "etc/container" / Path(program).name).exists()
    assert f"container_name: ${{HIVE_CONTAINER:-{NAME}}}\n" in text_of(ROOT / "compose.yaml")


# -- backup --------------------------------------------------------------------------------------------------------------


def test_what_was_copied_comes_back_and_what_ran_meanwhile_is_marked(suite: Supervised) -> None:
    copy, restore = ([command for block in part for command in block] for part in split_backup())
    running = suite.do("hive-session", "create", "--agent", "rehearsal", "It runs while it is copied").stdout.strip()
    assert suite.do("hive-session", "start", "--detach", running, "--seconds", "600").returncode == 0
    before = {place: files(place) for place in kept(suite)}
    done = run(suite, copy)
    assert done.returncode == 0, done
    assert suite.do("hive-session", "stop", running).returncode == 0
    assert suite.suite("stop").returncode == 0
    for place in kept(suite):
        shutil.rmtree(place)
    done = run(suite, restore)
    assert done.returncode == 0, done
    status = {each: suite.do("hive-session", "status", each).stdout.strip() for each in (suite.env["id"], running)}
    assert status == {suite.env["id"]: "completed", running: "failed"}
    assert all(before[place] <= files(place) for place in kept(suite) if place != suite.layout.log_dir)
    assert suite.do("hive-session", "logs", suite.env["id"]).stdout
    assert suite.do("hive-session", "resume", suite.env["id"]).returncode == 0


def split_backup() -> tuple[list[list[str]], list[list[str]]]:
    first, *rest = SECTIONS["Backup"]
    return [first], rest


def kept(suite: Supervised) -> tuple[str, ...]:
    return (suite.layout.swarm, suite.layout.output_root, suite.layout.log_dir)


def files(place: str) -> set[str]:
    """What is there of the sessions' own, but for what comes and goes while one runs."""
    session = re.compile(r"/(session\.json|task\.md|telemetry\.jsonl|claude\.jsonl|report\.md|task\.txt)$")
    return {str(path) for path in Path(place).rglob("*") if session.search(str(path))}


# -- tables --------------------------------------------------------------------------------------------------------------


def variables() -> dict[str, tuple[str, str]]:
    rows = table(section(OPERATIONS, "## Variables"), "variable", "container", "checkout", "meaning")
    return {quoted(name)[0]: (container.strip("`"), checkout.strip("`")) for name, container, checkout, _ in rows}


def test_the_variables_are_those_of_the_suite_in_its_order(suite: Supervised) -> None:
    told = [line.partition("=")[0] for line in suite.suite("env").stdout.splitlines()]
    told.remove("HIVE_SUPERVISOR_CONF")
    documented = list(variables())
    assert sorted(documented) == sorted(told)
    assert documented[-len(PORTS) :] == list(PORTS)


def test_the_defaults_of_the_container_are_those_of_its_image() -> None:
    image = dict(re.findall(r"\b([A-Z_]+)=(\S+)", text_of(ROOT / "Dockerfile").partition("\nENV HIVE_WORKSPACE")[2]))
    image["HIVE_WORKSPACE"] = "/workspace"
    assert {name: container for name, (container, _) in variables().items()}.items() <= image.items()


def test_the_default_ports_are_those_of_the_table() -> None:
    rows = variables()
    assert {name: rows[name][1] for name in PORTS} == {
        name: f"{default} or a free one" for name, (default, _, _) in PORTS.items()
    }


def test_the_limits_are_those_of_the_code() -> None:
    rows = {row[1]: row[2] for row in table(section(OPERATIONS, "## Limits"), "what", "where", "default")}
    defaults = {quoted(where)[0]: default for where, default in rows.items() if quoted(where)}
    settings = text_of(ROOT / "docs/format.md")
    for variable in ("TCP_MAX_CONNECTIONS", "WS_MAX_CONNECTIONS", "MAX_REQUEST_SIZE", "HIVE_LOG_MAX_BYTES"):
        documented = re.search(rf"\| `{variable}` \| (\d+) \|", settings)
        assert documented and defaults[variable].split()[0].rstrip(",") == documented[1], variable
    assert f"CLAUDE_FLOW_MAX_SESSIONS, {defaults['CLAUDE_FLOW_MAX_SESSIONS']})" in text_of(
        ROOT / "mcp_tcp/proxy/__main__.py"
    )
    compose = text_of(ROOT / "compose.yaml")
    assert f"pids_limit: {rows['compose.yaml']} " in compose
    assert f"DOCKER_MEMORY:-{defaults['DOCKER_MEMORY']}" in compose
    conf = text_of(ROOT / "etc/supervisor/conf.d/10-core.conf")
    size, backups = re.findall(r"\d+\w*", rows["etc/supervisor/conf.d/10-core.conf"])
    for log in ("tcp-server-error", "ws-bridge-error", "claude-flow-tcp-error"):
        assert re.search(rf"{log}\.log\n\w+_maxbytes={size}\n\w+_backups={backups}\n", conf)


def test_the_logs_are_where_and_in_the_form_that_the_table_says(suite: Supervised) -> None:
    rows = table(section(OPERATIONS, "## What each log says"), "file", "in", "lines", "what it says")
    places = {
        "HIVE_LOG_DIR": suite.layout.log_dir,
        "HIVE_MCP_LOG_DIR": f"{suite.layout.log_dir}/mcp",
        "HIVE_SUPERVISOR_LOG_DIR": f"{suite.layout.log_dir}/supervisor",
    }
    for name, place, form, _ in rows:
        if quoted(name)[0] == "entrypoint.log":
            continue  # of the container; tests/container reads it
        log = Path(places[quoted(place)[0]], quoted(name)[0].replace("<id>", suite.env["id"]))
        until(log.exists, f"{log}")
        if form == "JSON":
            until(lambda log=log: log.read_text(encoding="utf-8"), f"a line in {log}")  # type: ignore[misc]  # mypy: a lambda with a default
            assert all(line.startswith('{"time"') for line in log.read_text(encoding="utf-8").splitlines()), log


def test_the_messages_that_the_document_quotes_are_said_by_the_code() -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for package in ("hive_session", "mcp_tcp", "ws_relay")
        for path in (ROOT / package).rglob("*.py")
    )
    for message in (
        "may not connect",
        "inotify has no more watches",
        "without runner and witness",
        ".set-aside",
        "claude_started",
    ):
        assert message in code
    assert os.strerror(98).lower() == "address already in use"
    assert 'return "not connected"' in text_of(ROOT / "ws_relay/page/js/topbar.js")
