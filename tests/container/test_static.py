"""What can be said of the container without an engine: its files are clean, its defaults closed, its versions ours."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.npm import CLAUDE_FLOW_VERSION, CLAUDE_VERSION, NODE_VERSION

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def composed(**env: str) -> str:
    """compose.yaml as compose understands it, written out."""
    if not shutil.which("docker-compose"):
        pytest.skip("needs docker-compose (bin/setup --test installs it on Debian)")
    words = ["docker-compose", "--file", str(ROOT / "compose.yaml"), "config"]
    clean = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **env}
    done = subprocess.run(words, env=clean, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines_below(text: str, key: str) -> list[str]:
    """The items of the list `key` of the service."""
    found = re.search(rf"^    {key}:\n((?:    - .*\n)+)", text, re.MULTILINE)
    return [line[6:] for line in found[1].splitlines()] if found else []


def test_hadolint_finds_nothing_in_the_dockerfile(scripts: Path) -> None:
    done = subprocess.run([scripts / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_takes_the_versions_that_bin_setup_takes() -> None:
    pinned = dict(re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILE, re.MULTILINE))
    assert pinned["NODE_VERSION"] == NODE_VERSION
    assert pinned["CLAUDE_FLOW_VERSION"] == CLAUDE_FLOW_VERSION
    assert pinned["CLAUDE_CODE_VERSION"] == CLAUDE_VERSION


def test_the_build_sees_every_package_and_nothing_that_is_private() -> None:
    seen = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert seen[1] == "*"
    assert {f"!{package}" for package in packages} <= set(seen)


def test_every_port_is_published_on_loopback_alone() -> None:
    ports = lines_below(composed(), "ports")
    assert [port.split(":")[0] for port in ports] == ["127.0.0.1"] * 5
    assert {port.split(":")[1] for port in ports} == {"3002", "9500", "9501", "9502", "9503"}


def test_opening_the_ports_opens_only_those_that_ask_for_a_token() -> None:
    ports = lines_below(composed(HIVE_PUBLISH="0.0.0.0"), "ports")
    assert sorted(port for port in ports if not port.startswith("127.0.0.1:")) == [
        "0.0.0.0:3002:3002/tcp",
        "0.0.0.0:9500:9500/tcp",
    ]


def test_the_documented_volumes_are_mounted_and_no_socket_of_the_engine() -> None:
    text = composed(EXTERNAL_DIR="/data/ext")
    places = [volume.split(":")[1] for volume in lines_below(text, "volumes")]
    assert places == [
        "/workspace", "/workspace/ext", "/var/log/multi-agent", "/app/mcp-logs", "/var/log/supervisor", "/home/dev/.claude",
    ]  # fmt: skip
    assert "/data/ext:/workspace/ext:rw" in text
    for word in ("docker.sock", "privileged", "seccomp", "apparmor", "SYS_ADMIN"):
        assert word not in text


def test_all_capabilities_are_dropped_but_those_that_were_found_to_be_needed() -> None:
    text = composed()
    assert lines_below(text, "cap_drop") == ["ALL"]
    assert lines_below(text, "cap_add") == ["CHOWN", "DAC_OVERRIDE", "KILL", "SETGID", "SETUID"]
    assert lines_below(text, "security_opt") == ["no-new-privileges:true"]


def test_limits_can_be_set_from_outside() -> None:
    assert "mem_limit: 3g" in composed(DOCKER_MEMORY="3g")
    assert "cpus: 1.5" in composed(DOCKER_CPUS="1.5")


def test_the_mcp_configuration_names_programs_that_the_image_has() -> None:
    servers = json.loads((ROOT / "etc/container/mcp.json").read_text(encoding="utf-8"))["mcpServers"]
    assert {server["command"] for server in servers.values()} == {"mcp-stdio-bridge"}


@pytest.mark.parametrize("script", ["entrypoint", "healthcheck", "supervisorctl"])
def test_the_scripts_of_the_image_are_executable_and_of_plain_syntax(script: str) -> None:
    file = ROOT / "etc/container" / script
    assert os.access(file, os.X_OK)
    assert subprocess.run(["/bin/sh", "-n", file], timeout=50).returncode == 0
