"""docker compose up -d, and then everything that the original's quick reference and its Rust client say."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from subprocess import PIPE

import pytest

from tests.container.engine import DOCKER, Engine
from tests.container.suite import CORE, MANAGER, NAME, Composed, wait_until

# What root may in docker exec, by its number in capability.h.
FOR_ROOT = {"CHOWN": 0, "DAC_OVERRIDE": 1, "KILL": 5, "SETGID": 6, "SETUID": 7}
LISTED = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
GET = """
import http.client, sys
port, path = sys.argv[1:]
connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
connection.request("GET", path, headers={"Host": f"localhost:{port}"})
print(connection.getresponse().status)
"""
REQUIRED = {"session_id", "task", "priority", "created", "status", "working_dir", "output_dir", "database", "log_file"}


@pytest.fixture(scope="module")
def suite(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    with Composed(engine, tmp_path_factory.mktemp("site")) as suite:
        yield suite


# -- the suite -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["root", "dev"])
def test_supervisorctl_works_without_any_option(suite: Composed, user: str) -> None:
    def runs() -> bool:
        lines = suite.exec("supervisorctl", "status", user=user, check=False).splitlines()
        state_of = dict(line.split()[:2] for line in lines)
        return all(state_of[program] == "RUNNING" for program in CORE)

    wait_until(runs, "all that shall run is RUNNING")


def test_the_documented_program_names_can_be_restarted(suite: Composed) -> None:
    before = suite.pid_of("mcp-tcp-server")
    suite.exec("supervisorctl", "restart", "mcp-tcp-server")
    assert suite.pid_of("mcp-tcp-server") not in (0, before)
    suite.wait_until_ready()


def test_a_wrong_file_never_takes_the_running_suite_down(suite: Composed) -> None:
    before = suite.pid_of("mcp-tcp-server")
    wrong = "/etc/supervisor/conf.d/99-wrong.conf"
    suite.exec("sh", "-c", f"printf '[program:x]\\ncomand=sleep 9\\n' >{wrong}", user="root")
    try:
        assert suite.exit_code("supervisorctl", "reload") == 78
        suite.exec("supervisorctl", "update", check=False)
        assert suite.pid_of("mcp-tcp-server") == before
    finally:
        suite.exec("rm", wrong, user="root")
    suite.wait_until_ready()


def test_the_engine_calls_it_healthy(suite: Composed) -> None:
    wait_until(lambda: suite.inspect("{{.State.Health.Status}}") == "healthy", "healthy", 120, suite.said)


def test_process_1_is_supervisord_without_root_and_without_capabilities(suite: Composed) -> None:
    assert b"supervisord" in suite.exec("cat", "/proc/1/cmdline").encode()
    status = dict(line.split(":\t", 1) for line in suite.exec("cat", "/proc/1/status").splitlines() if ":\t" in line)
    assert status["Uid"].split() == ["1000"] * 4
    assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == int(status["CapAmb"], 16) == 0
    assert int(status["CapBnd"], 16) == sum(1 << number for number in FOR_ROOT.values())
    assert status["NoNewPrivs"] == "1"


def test_it_reaps_what_loses_its_parents(suite: Composed) -> None:
    orphan = suite.exec("sh", "-c", "sleep 0.2 >/dev/null 2>&1 & echo $!").strip()
    assert int(orphan) > 1
    wait_until(lambda: suite.exit_code("test", "-e", f"/proc/{orphan}") == 1, "not even a zombie of it is left")


def test_limits_hold(suite: Composed) -> None:
    assert suite.inspect("{{.HostConfig.PidsLimit}} {{.HostConfig.Memory}}") == f"4096 {8 << 30}"
    assert suite.inspect("{{.HostConfig.Privileged}} {{.HostConfig.RestartPolicy.Name}}") == "false unless-stopped"


# -- from outside --------------------------------------------------------------------------------------------------------


def test_netcat_gets_an_answer_on_9500_without_a_token(suite: Composed) -> None:
    line = suite.engine.inside("sh", "-c", f"echo '{LISTED}' | nc -N 127.0.0.1 9500").stdout
    assert json.loads(line)["result"]["tools"]


@pytest.mark.parametrize(
    ("port", "path"), [(3002, "/"), (3002, "/readyz"), (9501, "/healthz"), (9501, "/metrics"), (9503, "/health")]
)
def test_pages_are_served_to_this_machine(suite: Composed, port: int, path: str) -> None:
    assert suite.engine.inside(sys.executable, "-c", GET, str(port), path).stdout == "200\n"


def test_nothing_is_published_but_on_loopback(suite: Composed) -> None:
    bound = json.loads(suite.inspect("{{json .NetworkSettings.Ports}}"))
    assert len(bound) == 5
    assert {each["HostIp"] for binding in bound.values() for each in binding} == {"127.0.0.1"}


# -- docker exec ---------------------------------------------------------------------------------------------------------


def test_the_rust_clients_own_sequence(suite: Composed) -> None:
    """Create, start in the background, ask at once: src/utils/docker_hive_mind.rs."""
    metadata = '{"strategy":"HiveMind","max_workers":8,"consensus_type":"majority","memory_size_mb":100}'
    session = suite.exec(MANAGER, "create", 'Say "hello" \\ it\'s me\n', "high", metadata).strip()
    suite.detached(MANAGER, "start", session)
    record = json.loads(suite.exec(MANAGER, "get", session))
    assert record.keys() >= REQUIRED
    assert record["task"] == 'Say "hello" \\ it\'s me\n'
    assert record["metadata"] == json.loads(metadata)
    datetime.fromisoformat(record["created"])
    assert suite.exec(MANAGER, "status", session).strip() in ("created", "starting", "running", "failed")
    assert suite.exec(MANAGER, "output-dir", session) == f"/workspace/ext/hive-sessions/{session}\n"
    assert suite.exec(MANAGER, "log", session) == f"/var/log/multi-agent/hive-{session}.log\n"
    rows = json.loads(suite.exec(MANAGER, "list"))["sessions"]
    assert rows[session].keys() >= {"task", "status", "created", "updated", "dir"}
    suite.exec(MANAGER, "stop", session, check=False)
    wait_until(lambda: suite.status_of(session) == "failed", "the session is over")
    assert suite.exit_code(MANAGER, "status", "00000000-0000-4000-8000-000000000000") == 1


def test_the_rust_clients_other_calls(suite: Composed) -> None:
    assert "mcp-tcp" in suite.exec("ps", "aux")
    assert suite.exec("pgrep", "-f", "mcp-tcp")
    assert suite.exec("df", "-BG", "/")
    assert suite.exit_code("ping", "-c1", "-W1", "127.0.0.1") == 0
    session = suite.exec(MANAGER, "create", "wait").strip()
    suite.detached("sleep", "543")
    wait_until(lambda: suite.exit_code("pgrep", "-x", "-f", "sleep 543") == 0, "the process is there")
    pid = suite.exec("pgrep", "-x", "-f", "sleep 543").strip()
    suite.exec("kill", "-9", pid)
    assert suite.exec(MANAGER, "update-status", session, "failed") == ""
    assert suite.exec(MANAGER, "cleanup", "24").splitlines()[-1].startswith("Cleaned up ")
    assert suite.engine.docker("stats", "--no-stream", NAME).stdout


@pytest.mark.parametrize(
    "words",
    [
        "hive-session ls", "hive-session doctor", "hive-session reconcile", "hive-session reindex", "hive-session vacuum",
        "hive-suite status", "hive-suite env", "hive-suite check", "supervisorctl tail mcp-tcp-server",
        f"{MANAGER} init", f"{MANAGER} list", f"{MANAGER} cleanup 24", "rm -f /workspace/.swarm/memory.db",
    ],
)  # fmt: skip
def test_documented_commands_need_no_preparation(suite: Composed, words: str) -> None:
    suite.exec(*words.split())


def test_a_rehearsal_runs_to_its_end_and_its_files_belong_to_the_hosts_user(suite: Composed) -> None:
    session = suite.new_session("Show what a hive looks like", "--agent", "rehearsal")
    assert suite.exit_code("hive-session", "start", session) == 0
    assert suite.status_of(session) == "completed"
    for place in (
        f"workspace/.swarm/sessions/{session}/session.json",
        f"logs/hive-{session}.log",
        "logs/entrypoint.log",
    ):
        assert os.stat(suite.directory / place).st_uid == 1000
    assert any((suite.directory / ".agent-mount/ext/hive-sessions" / session).iterdir())


def test_the_logs_are_where_the_original_had_them(suite: Composed) -> None:
    logs = suite.directory / "logs"
    expected = {"tcp-server.log", "tcp-server-error.log", "ws-bridge.log", "ws-bridge-error.log",
                "claude-flow-tcp.log", "claude-flow-tcp-error.log"}  # fmt: skip
    assert {file.name for file in (logs / "mcp").iterdir()} >= expected
    assert "supervisord started with pid 1" in (logs / "supervisor/supervisord.log").read_text(encoding="utf-8")
    for line in (logs / "entrypoint.log").read_text(encoding="utf-8").splitlines():
        assert json.loads(line)["program"] == "entrypoint"


@pytest.mark.parametrize("user", ["root", "dev"])
def test_claude_flow_is_there_and_never_shares_a_database(suite: Composed, user: str) -> None:
    cwd = "/workspace" if user == "root" else "/tmp"
    assert "3.43.0" in suite.exec("claude-flow", "--version", user=user, cwd=cwd)
    assert not (suite.directory / "workspace/.swarm/memory.db").exists()


def test_claude_code_and_node_are_there(suite: Composed) -> None:
    assert "2.1.197" in suite.exec("claude", "--version", user="dev")
    assert suite.exec("node", "--version").strip() == "v22.23.3"


def test_each_mcp_server_of_the_image_answers_through_the_bridge(suite: Composed) -> None:
    servers = json.loads(suite.exec("cat", "/app/core-assets/mcp.json"))["mcpServers"]
    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client}
    assert servers.keys() == {"hive", "claude-flow"}
    for server in servers.values():
        words = [DOCKER, "exec", "--interactive", "--user", "dev", NAME, server["command"], *server["args"]]
        with subprocess.Popen(words, env=suite.engine.env, stdin=PIPE, stdout=PIPE, text=True) as bridge:
            assert bridge.stdin and bridge.stdout
            bridge.stdin.write(json.dumps(hello) + "\n")
            bridge.stdin.flush()
            assert json.loads(bridge.stdout.readline())["result"]["serverInfo"]
            bridge.stdin.close()


# -- what an agent cannot do -----------------------------------------------------------------------------------------------


def test_an_agent_can_change_nothing_of_the_image(suite: Composed) -> None:
    found = suite.exec(
        "find", "/", "-xdev", "-writable", "(", "-type", "f", "-o", "-type", "d", ")",
        "-not", "-path", "/home/dev*", "-not", "-path", "/proc/*", user="dev", check=False,
    ).split()  # fmt: skip
    volumes = {"/workspace", "/var/log/multi-agent", "/var/log/supervisor", "/app/mcp-logs"}
    assert set(found) <= {"/tmp", "/var/tmp", "/run/lock", *volumes}
    assert suite.exec("find", "/", "-xdev", "-type", "f", "-perm", "/6000", check=False) == ""


def test_root_takes_no_supervisor_configuration_from_an_agent(suite: Composed) -> None:
    trap = "[ctlplugin:x]\nsupervisor.ctl_factory=trap:make\n[supervisorctl]\nserverurl=http://127.0.0.1:1\n"
    (suite.directory / "workspace/supervisord.conf").write_text(trap, encoding="utf-8")
    try:
        assert "RUNNING" in suite.exec("supervisorctl", "status", "mcp-tcp-server", cwd="/workspace")
    finally:
        (suite.directory / "workspace/supervisord.conf").unlink()
