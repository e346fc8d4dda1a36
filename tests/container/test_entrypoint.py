"""The first second of a container: whose files, which token, and what it refuses."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.container.engine import Engine
from tests.container.image import IMAGE
from tests.container.suite import Bare, Composed

LIMITED = (
    "--cap-drop", "ALL", "--cap-add", "CHOWN", "--cap-add", "DAC_OVERRIDE", "--cap-add", "KILL", "--cap-add", "SETGID",
    "--cap-add", "SETUID", "--security-opt", "no-new-privileges:true", "--network", "none",
)  # fmt: skip


def test_without_a_word_about_the_network_it_makes_tokens_prints_them_once_and_works(engine: Engine) -> None:
    with Bare(engine, "hive-tokens", *LIMITED) as container:
        container.wait_until_ready()
        made = re.findall(r"entrypoint: made and kept in \S+: (TCP|WS)_AUTH_TOKEN=([0-9a-f]{64})\n", container.said())
        assert [name for name, _ in made] == ["TCP", "WS"]
        assert container.exec("stat", "-c", "%a %U", "/workspace/.supervisor/tokens") == "600 dev\n"
        line = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
        ask = f"echo '{line}' | timeout 5 mcp-stdio-bridge 127.0.0.1:9500"
        assert '"tools"' not in container.exec("sh", "-c", ask, check=False)
        logs = container.exec(
            "sh", "-c", "cat /var/log/multi-agent/*.log /var/log/supervisor/*.log /app/mcp-logs/*.log"
        )
        assert not any(token in logs for _, token in made)
        engine.docker("restart", container.name)
        container.wait_until_ready()
        assert container.said().count("AUTH_TOKEN=") == 2
        environment = container.exec("cat", f"/proc/{container.pid_of('mcp-tcp-server')}/environ", user="dev")
        assert f"TCP_AUTH_TOKEN={made[0][1]}\0" in environment


def test_given_tokens_are_used_and_not_printed(engine: Engine) -> None:
    given = ("--env", "TCP_AUTH_TOKEN=given-one", "--env", "WS_AUTH_TOKEN=given-two")
    with Bare(engine, "hive-given", *LIMITED, *given) as container:
        container.wait_until_ready()
        assert "given-" not in container.said()
        assert container.exit_code("test", "-e", "/workspace/.supervisor/tokens") == 1


def test_ports_that_are_opened_ask_for_the_token_and_the_others_stay_here(engine: Engine, tmp_path: Path) -> None:
    line = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
    with Composed(engine, tmp_path, HIVE_PUBLISH="0.0.0.0") as suite:
        answer = json.loads(engine.inside("sh", "-c", f"echo '{line}' | nc -N 127.0.0.1 9500").stdout)
        assert "token" in answer["error"]["message"]
        bound = json.loads(suite.inspect("{{json .NetworkSettings.Ports}}"))
        opened = {port for port, binding in bound.items() for each in binding if each["HostIp"] == "0.0.0.0"}
        assert opened == {"3002/tcp", "9500/tcp"}


def create(engine: Engine, workspace: Path, *options: str) -> str:
    """What a container over `workspace` says that makes a session as root's docker exec would; the id is its last line."""
    mount = ("--volume", f"{workspace}:/workspace")
    words = ("sh", "-c", "id && hive-session create x 2>/dev/null")
    return engine.docker("run", "--rm", *LIMITED, *options, *mount, IMAGE, *words).stdout


def test_dev_becomes_whom_the_workspace_belongs_to(engine: Engine, tmp_path: Path) -> None:
    os.chown(tmp_path, 4301, 4302)
    *_, who, session = create(engine, tmp_path).splitlines()
    assert who == "uid=4301(dev) gid=4302(dev) groups=4302(dev)"
    info = os.stat(tmp_path / ".swarm/sessions" / session / "session.json")
    assert (info.st_uid, info.st_gid) == (4301, 4302)


def test_another_host_uid_takes_over_what_the_suite_made_and_leaves_the_rest(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("the host's own", encoding="utf-8")
    os.chown(tmp_path / "mine", 4309, 4309)
    made = []
    for uid in (4301, 4303):
        os.chown(tmp_path, uid, uid)
        made.append(create(engine, tmp_path, "--env", f"HOST_UID={uid}", "--env", f"HOST_GID={uid}").splitlines()[-1])
        assert {os.stat(tmp_path / ".swarm/sessions" / each / "session.json").st_uid for each in made} == {uid}
    assert os.stat(tmp_path / "mine").st_uid == 4309


@pytest.mark.parametrize(
    ("variable", "code", "word"),
    [
        ("HOST_UID=0", 77, "never root"),
        ("HOST_GID=0", 77, "never root"),
        ("HOST_UID=00", 64, "no number"),
        ("HOST_UID=me", 64, "no number"),
        ("HOST_UID=1000;id", 64, "no number"),
        ("HOST_UID=99999999999", 64, "no number"),
    ],
)
def test_a_wrong_number_is_refused_in_words(engine: Engine, variable: str, code: int, word: str) -> None:
    done = engine.docker("run", "--rm", "--network", "none", "--env", variable, IMAGE, "true", check=False)
    assert done.returncode == code
    assert word in done.stderr


def test_a_workspace_that_cannot_be_written_is_named(engine: Engine, tmp_path: Path) -> None:
    os.chown(tmp_path, 4301, 4301)
    words = ("--env", "HOST_UID=4444", "--volume", f"{tmp_path}:/workspace")
    done = engine.docker("run", "--rm", "--network", "none", *words, IMAGE, check=False)
    assert done.returncode == 77
    assert done.stderr.startswith("entrypoint: /workspace/.swarm cannot be written to by uid 4444; ")
    assert done.stderr.count("\n") == 1


def test_a_link_in_the_workspace_leads_root_nowhere(engine: Engine, tmp_path: Path) -> None:
    """An agent of yesterday may have put it there."""
    os.chown(tmp_path, 4301, 4301)
    (tmp_path / ".supervisor").symlink_to("/etc")
    os.chown(tmp_path / ".supervisor", 4444, 4444, follow_symlinks=False)
    done = engine.docker(
        "run", "--rm", "--network", "none", "--volume", f"{tmp_path}:/workspace", IMAGE, "sh", "-c", "stat -c %U /etc",
        check=False,
    )  # fmt: skip
    assert done.returncode == 77
    assert "/workspace/.supervisor cannot be written to" in done.stderr


def test_any_other_command_runs_as_dev_too(engine: Engine) -> None:
    done = engine.docker("run", "--rm", "--network", "none", IMAGE, "id", "-un")
    assert done.stdout.splitlines()[-1] == "dev"
