"""docs/operations.md: each of its docker commands works on the container that docker compose up -d has made."""

from pathlib import Path

from tests.container.engine import CALL_S, DOCKER, Engine, run
from tests.container.suite import Composed, wait_until
from tests.integration.test_operations import IN_DOCKER

BUILDS = "docker compose build"  # what the image of these tests was made by, with the secrets that this network needs
NOT_ALL_RUN = 3  # supervisorctl's, where a program that runs once has ended


def test_each_docker_command_of_the_book_works(engine: Engine, tmp_path: Path) -> None:
    """With ports that are opened, so that there are tokens to look at and to replace."""
    with Composed(engine, tmp_path, HIVE_PUBLISH="0.0.0.0") as suite:
        before = suite.exec("cat", "/workspace/.supervisor/tokens")
        in_order = sorted(set(IN_DOCKER) - {BUILDS}, key=_when)
        for command in in_order:
            wait_until(lambda command=command: _works(suite, command), command)  # type: ignore[misc]
            if command.startswith(("docker compose up", "docker compose restart")):
                suite.wait_until_ready()
        assert len(in_order) > 10
        tokens = suite.exec("cat", "/workspace/.supervisor/tokens")
        assert len(tokens) == len(before) and not {*tokens.split()} & {*before.split()}


def _works(suite: Composed, command: str) -> bool:
    """True once it has ended well. A check that all is well fails on a machine that stands still for 3 s, and may."""
    done = run(["sh", "-ec", _typed(command)], suite.environment, check=False, timeout_s=CALL_S, cwd=suite.directory)
    ended = (0, NOT_ALL_RUN) if command.endswith("supervisorctl status") else (0,)
    assert done.returncode in ended or command.endswith("/healthcheck"), f"{command}\n{done.stdout}{done.stderr}"
    return done.returncode in ended


def _when(command: str) -> int:
    """Its place among all: what is up is looked at, stopped, started again, and given other tokens."""
    turns = ("compose stop", "compose up", "cat ", "rm ", "compose restart")
    return next((number for number, word in enumerate(turns, 1) if word in command), 0)


def _typed(command: str) -> str:
    """The command where compose is not a part of docker; one for a terminal gets one."""
    words = command.replace("docker compose", "docker-compose").replace("docker ", f"{DOCKER} ")
    return f"echo exit | script -qefc '{words}' /dev/null" if " -it " in command else words
