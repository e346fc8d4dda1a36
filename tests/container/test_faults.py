"""Whatever is killed comes back, and what did not survive is told as it was."""

import json
from collections.abc import Iterator

import pytest

from tests.container.engine import Engine
from tests.container.suite import CORE, SLEEPER, Bare, Composed, wait_until
from tests.integration.stopwatch import Stopwatch


@pytest.fixture(scope="module")
def suite(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    with Composed(engine, tmp_path_factory.mktemp("site"), HIVE_PUBLISH="127.0.0.1") as suite:
        suite.exec("sh", "-c", f"cat >/etc/hive/hive.toml <<'END'\n{SLEEPER}END")
        yield suite


def running_session(suite: Composed, *options: str) -> str:
    """A session that runs until somebody ends it."""
    session = suite.new_session("sleep", "--agent", "sleeper", *options)
    suite.exec("hive-session", "start", "--detach", session)
    wait_until(lambda: suite.status_of(session) == "running", "the session runs")
    return session


@pytest.mark.parametrize("program", CORE)
def test_a_program_that_is_killed_is_back(suite: Composed, program: str) -> None:
    before = suite.pid_of(program)
    suite.exec("kill", "-9", str(before))
    wait_until(lambda: suite.pid_of(program) not in (0, before), f"{program} runs again")
    suite.wait_until_ready()


def test_a_session_survives_the_end_of_its_docker_exec_and_of_every_server(suite: Composed) -> None:
    session = running_session(suite)
    suite.exec("supervisorctl", "restart", "all")
    suite.wait_until_ready()
    assert suite.status_of(session) == "running"
    suite.exec("hive-session", "stop", session)
    assert suite.status_of(session) == "failed"


def test_stopping_takes_less_than_dockers_ten_seconds_and_ends_well(suite: Composed) -> None:
    session = running_session(suite)
    with Stopwatch() as watch:
        suite.engine.docker("stop", "--time", "60", suite.name)
    assert watch.seconds < 10
    assert suite.inspect("{{.State.ExitCode}}") == "0"
    suite.engine.docker("start", suite.name)
    suite.wait_until_ready()
    record = suite.record_of(session)
    assert (record["status"], record["reason"]) == ("failed", "interrupted")


def test_a_killed_container_tells_what_was_interrupted_and_resumes_what_asked_for_it(suite: Composed) -> None:
    lost = running_session(suite)
    resumed = running_session(suite, "--restart", "on-interrupt")
    suite.engine.docker("kill", suite.name)
    suite.engine.docker("start", suite.name)
    suite.wait_until_ready()
    wait_until(lambda: suite.status_of(resumed) == "running", "it was resumed", told=suite.said)
    record = suite.record_of(lost)
    assert (record["status"], record["reason"]) == ("failed", "interrupted")
    assert suite.record_of(resumed)["attempt"] == 2
    suite.exec("hive-session", "stop", resumed)


def test_supervisord_killed_ends_the_container_which_comes_back_by_itself(suite: Composed) -> None:
    """From outside: the kernel lets nobody inside kill process 1."""
    started = suite.inspect("{{.State.StartedAt}}")
    suite.engine.inside("kill", "-9", suite.inspect("{{.State.Pid}}"))
    wait_until(lambda: suite.inspect("{{.State.StartedAt}}") != started, "it was started again")
    suite.wait_until_ready()


def test_an_agent_that_forks_without_end_ends_alone(engine: Engine) -> None:
    bomb = '[agents.bomb]\nargv = ["sh", "-c", "while :; do sleep 600 & done"]\n'
    with Bare(engine, "hive-bomb", "--pids-limit", "200", "--network", "none") as container:
        container.wait_until_ready()
        container.exec("sh", "-c", f"cat >/etc/hive/hive.toml <<'END'\n{bomb}END")
        served = {program: container.pid_of(program) for program in CORE}
        session = container.new_session("grow", "--agent", "bomb")
        assert container.exit_code("hive-session", "start", session) != 0
        assert container.status_of(session) == "failed"
        wait_until(lambda: container.exit_code("pgrep", "-x", "-f", "sleep 600") == 1, "nothing of it is left")
        container.wait_until_ready()
        assert {program: container.pid_of(program) for program in CORE} == served


def test_a_server_that_hangs_is_told_to_the_engine_and_replaced(engine: Engine) -> None:
    quick = ("--health-interval", "1s", "--health-retries", "1", "--network", "none")
    soon = ("--env", "HIVE_HEALTH_MISSES=4", "--env", "HIVE_HEALTH_GRACE_S=1")
    with Bare(engine, "hive-hanging", *quick, *soon) as container:
        wait_until(lambda: container.inspect("{{.State.Health.Status}}") == "healthy", "healthy", 120, container.said)
        hanging = container.pid_of("mcp-tcp-server")
        container.exec("kill", "-STOP", str(hanging))
        wait_until(lambda: "mcp-tcp-server" in said_unhealthy(container), "unhealthy", told=container.said)
        wait_until(
            lambda: container.pid_of("mcp-tcp-server") not in (0, hanging), "it was replaced", 120, container.said
        )
        wait_until(
            lambda: container.inspect("{{.State.Health.Status}}") == "healthy", "healthy again", 120, container.said
        )


def said_unhealthy(container: Bare) -> str:
    """What the last checks have said of a container that is unhealthy at this moment: of one that is well again they are gone."""
    health = json.loads(container.inspect("{{json .State.Health}}"))
    return "".join(each["Output"] for each in health["Log"]) if health["Status"] == "unhealthy" else ""
