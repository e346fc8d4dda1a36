"""bin/setup: idempotent, safe to interrupt, honest about what is missing; Python, npm and Debian faked."""

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.npm import (
    CONFORMANCE_VERSIONS,
    INSPECTOR_VERSION,
    NODE_PACKAGE,
    NODE_VERSION,
    PLAYWRIGHT_VERSION,
    WS_VERSION,
)

ROOT = Path(__file__).parents[2]

# All that the script may count on, from Debian's essential packages.
ESSENTIAL = "sh cat cp cut dirname env find flock grep id mkdir mv printf readlink rm sha256sum tail timeout uname"

PYTHON = """#!/bin/sh
# A Python that writes down what it is asked to do.
case "$1 $2" in
    -c*realpath*) echo "${FAKE_FIT-new} all ${FAKE_VERSION-3.11.9} $FAKE_PYTHON" ;;
    -c*ensurepip*) exit "${FAKE_NO_VENV-0}" ;;
    '-m venv')
        echo venv >>"$CALLS"
        [ -z "${GATE-}" ] || read -r _ <"$GATE" || exit  # at the end of a test, which shall meet no part of this
        mkdir -p "$3/bin" && cp "$FAKE_PYTHON" "$3/bin/python3" ;;
    '-m pip')
        shift 2
        echo "pip $*" >>"$CALLS"
        case " $* " in *" ${FAIL_AT-nothing} "*) echo "no such package"; exit 1 ;; esac ;;
esac
"""

PYTHON2 = """#!/bin/sh
# A Python 2.7 that writes down what it is asked to do.
echo "python2.7 $*" >>"$CALLS"
[ -z "${FAKE_SHIM-}" ] || exit 127
case "$*" in
    '-m virtualenv'*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
    *" ${FAIL_AT-nothing}"*) exit 1 ;;
esac
"""

NPM = """#!/bin/sh
# An npm that installs a package.json and nothing else.
echo "npm $*" >>"$CALLS"
package=${2%@*} version=${2##*@}
case $1 in
    view) exit "${FAKE_NPM_VIEW-0}" ;;
    install)
        [ -z "${FAKE_NPM_INSTALL-}" ] || exit 1
        mkdir -p "$4/node_modules/$package"
        echo "{ \\"version\\": \\"$version\\" }" >"$4/node_modules/$package/package.json" ;;
esac
"""

NODE = """#!/bin/sh
echo "${FAKE_NODE-20}"
"""

NOTE = """#!/bin/sh
echo "${0##*/} $*" >>"$CALLS"
"""


@dataclass
class Machine:
    """A checkout on a machine that has what is in `programs` and nothing more."""

    checkout: Path
    programs: Path
    calls_file: Path
    env: dict[str, str] = field(default_factory=dict)

    def has(self, name: str, script: str) -> Path:
        """Put a program on the PATH."""
        path = self.programs / name
        path.unlink(missing_ok=True)
        path.write_text(script, encoding="utf-8")
        path.chmod(0o755)
        return path

    def start(self, *args: str, **env: str) -> "subprocess.Popen[str]":
        """bin/setup with `args`, its stderr on a pipe."""
        return subprocess.Popen(
            [self.checkout / "bin/setup", *args],
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def setup(self, *args: str, **env: str) -> tuple[int, str]:
        """Exit code and stderr of bin/setup; stdout must stay empty."""
        with self.start(*args, **env) as process:
            out, err = process.communicate(timeout=50)
        assert out == ""
        return process.returncode, err

    def calls(self) -> list[str]:
        """What was asked of the fakes since the last time, in order."""
        lines = self.calls_file.read_text(encoding="utf-8").splitlines()
        self.calls_file.write_text("", encoding="utf-8")
        return lines

    def entries(self) -> dict[str, int]:
        """Every path in the checkout with its time of change (ns)."""
        return {str(path): path.lstat().st_mtime_ns for path in self.checkout.rglob("*")}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A checkout, never set up, with a fake Python 3.11.9 and without npm."""
    checkout, programs = tmp_path / "a checkout", tmp_path / "programs"
    (checkout / "bin").mkdir(parents=True)
    programs.mkdir()
    for name in ("bin/setup", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, checkout / name)
    for name in ESSENTIAL.split():
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    calls = tmp_path / "calls"
    calls.touch()
    made = Machine(checkout, programs, calls)
    python = made.has("python3", PYTHON)
    for name in "jq setpriv socat nc chromium groff man curl ss dockerd tini docker-compose mmdebstrap ip".split():
        made.has(name, NOTE)
    made.env = {
        "PATH": str(programs),
        "HOME": os.environ["HOME"],
        "CALLS": str(calls),
        "HIVE_PYTHON": str(python),
        "FAKE_PYTHON": str(python),
    }
    return made


def test_a_first_setup_makes_the_environment_and_says_so_in_short_lines(machine: Machine) -> None:
    code, said = machine.setup("--python-only")
    assert code == 0
    assert said.splitlines() == [
        f"bin/setup: making .venv with Python 3.11.9 ({machine.programs}/python3)",
        "bin/setup: installing the Python packages",
    ]
    venv, renewed, removed, installed = machine.calls()
    assert venv == "venv"
    assert "--upgrade pip" in renewed
    assert removed.endswith("uninstall --yes setuptools")
    assert f"--constraint {machine.checkout}/constraints.txt -e ." in installed


def test_a_second_setup_does_nothing_and_says_nothing(machine: Machine) -> None:
    machine.setup()
    machine.calls()
    before = machine.entries()
    assert machine.setup() == (0, "")
    assert machine.calls() == []
    assert machine.entries() == before


@pytest.mark.parametrize("step", ["pip", "setuptools", "."])
def test_a_setup_that_broke_off_is_done_again_from_the_start(machine: Machine, step: str) -> None:
    code, said = machine.setup(FAIL_AT=step)
    assert code == 69
    assert "no such package" in said  # the end of pip's own words
    machine.calls()
    code, said = machine.setup()
    assert code == 0
    assert "making .venv" in said
    assert machine.calls()[0] == "venv"


def test_a_killed_setup_is_done_again_from_the_start(machine: Machine, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with machine.start(GATE=str(gate)) as process:
        with gate.open("w"):  # opens once the fake Python stands at the gate
            process.kill()
    machine.calls()
    code, said = machine.setup()
    assert code == 0
    assert "making .venv" in said


def test_changed_requirements_are_installed_into_the_environment_that_is_there(machine: Machine) -> None:
    machine.setup("--python-only")
    machine.calls()
    with (machine.checkout / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("# one more line\n")
    code, said = machine.setup("--python-only")
    assert (code, said) == (0, "bin/setup: installing the Python packages\n")
    [installed] = machine.calls()
    assert installed.endswith("-e .")


def test_a_moved_checkout_gets_a_new_environment(machine: Machine, tmp_path: Path) -> None:
    machine.setup()
    machine.calls()
    machine.checkout = machine.checkout.rename(tmp_path / "moved")
    code, said = machine.setup()
    assert code == 0
    assert "making .venv" in said
    assert machine.setup() == (0, "")


def test_another_interpreter_gets_a_new_environment(machine: Machine) -> None:
    machine.setup("--python-only")
    other = str(machine.has("python3.13", PYTHON))
    code, said = machine.setup("--python-only", HIVE_PYTHON=other, FAKE_PYTHON=other, FAKE_VERSION="3.13.1")
    assert code == 0
    assert f"making .venv with Python 3.13.1 ({other})" in said


def test_an_environment_whose_interpreter_is_gone_is_made_anew(machine: Machine) -> None:
    machine.setup("--python-only")
    (machine.checkout / ".venv/bin/python3").unlink()
    code, said = machine.setup("--python-only")
    assert code == 0
    assert "making .venv" in said


def test_what_the_tests_need_is_added_once_and_stays(machine: Machine) -> None:
    machine.setup("--python-only")
    machine.calls()
    assert machine.setup("--test", "--python-only")[0] == 0
    assert machine.calls()[-1].endswith("-e .[test]")
    assert machine.setup("--test", "--python-only") == (0, "")
    assert machine.setup("--python-only") == (0, "")
    with (machine.checkout / "constraints.txt").open("a", encoding="utf-8") as file:
        file.write("# one more line\n")
    machine.setup("--python-only")
    assert machine.calls()[-1].endswith("-e .[test]")


def test_two_setups_at_once_make_one_environment(machine: Machine, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with machine.start(GATE=str(gate)) as first, gate.open("w") as opened:
        with machine.start() as second:
            assert second.stderr is not None
            assert second.stderr.readline() == "bin/setup: waiting for another bin/setup in this checkout\n"
            opened.write("go\n")
            opened.flush()
            assert (first.wait(50), second.wait(50)) == (0, 0)
            assert second.stderr.read() == ""
    assert machine.calls().count("venv") == 1


def test_a_python_that_is_too_old_is_named_with_what_to_do(machine: Machine) -> None:
    code, said = machine.setup(FAKE_FIT="old", FAKE_VERSION="3.9.2")
    assert code == 69
    python = machine.programs / "python3"
    assert said.splitlines() == [
        f"bin/setup: Python 3.11 or newer is needed; {python} is Python 3.9.2 ({python})",
        "  name one: HIVE_PYTHON=/path/to/python3",
    ]
    assert not (machine.checkout / ".venv/bin").exists()


def test_a_python_that_is_not_there_is_named(machine: Machine) -> None:
    code, said = machine.setup(HIVE_PYTHON="/nowhere/python3")
    assert code == 69
    assert "/nowhere/python3 cannot be run" in said


def without_venv(machine: Machine, uid: int) -> dict[str, str]:
    """Settings under which the script, run by `uid`, finds Debian's Python without its venv package."""
    machine.has("id", f"#!/bin/sh\necho {uid}\n")
    machine.has("dpkg", "#!/bin/sh\n")  # exit 0: a Debian package owns that file
    machine.has("apt-get", NOTE + 'case "$*" in *install*) exit "${FAKE_APT-0}" ;; esac\n')
    return {"FAKE_NO_VENV": "1"}


def test_without_the_venv_package_a_plain_user_is_told_which_to_install(machine: Machine) -> None:
    code, said = machine.setup(**without_venv(machine, 1000))
    assert code == 69
    assert said.splitlines() == [
        "bin/setup: Debian packages are missing: python3.11-venv",
        "  as root: apt-get install -y python3.11-venv",
    ]
    assert machine.calls() == []


def test_without_the_venv_package_root_installs_it_after_an_update_where_lists_are_missing(
    machine: Machine,
) -> None:
    code, said = machine.setup(**without_venv(machine, 0), FAKE_APT="100")
    assert code == 69
    assert "bin/setup: installing from Debian: python3.11-venv" in said
    assert "bin/setup: cannot install from Debian: python3.11-venv" in said
    asked = [call.split(" ", 4)[4] for call in machine.calls()]
    install = "install -y --no-install-recommends python3.11-venv"
    assert asked == [install, "update", install]


def test_a_python_of_nobody_without_venv_is_refused(machine: Machine) -> None:
    settings = without_venv(machine, 0)
    machine.has("dpkg", "#!/bin/sh\nexit 1\n")
    code, said = machine.setup(**settings)
    assert code == 69
    assert f"{machine.programs}/python3 cannot make virtual environments" in said
    assert machine.calls() == []


def test_a_directory_that_cannot_be_written_is_named(machine: Machine) -> None:
    (machine.checkout / ".venv").touch()
    code, said = machine.setup()
    assert code == 73
    assert f"bin/setup: {machine.checkout}/.venv cannot be written to" in said


def test_without_npm_claude_flow_is_left_out_with_one_line_once(machine: Machine) -> None:
    code, said = machine.setup()
    assert code == 0
    assert said.splitlines()[-1] == (
        "bin/setup: claude-flow is left out: npm is not installed;"
        " install Node.js 20 or newer with npm and run bin/setup again"
    )
    assert machine.setup() == (0, "")


def test_npm_that_appears_later_is_used_at_once(machine: Machine) -> None:
    machine.setup()
    machine.calls()
    machine.has("npm", NPM)
    machine.has("node", NODE)
    assert machine.setup() == (0, "bin/setup: installing claude-flow 3.43.0 from npm\n")
    _, install = machine.calls()
    assert install.startswith("npm install claude-flow@3.43.0 --prefix ")
    assert "--ignore-scripts" in install and "--omit=optional" in install
    assert sorted(path.name for path in (machine.checkout / ".venv").glob("node*")) == ["node"]
    assert machine.setup() == (0, "")


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ({"FAKE_NODE": "18"}, "Node.js is older than 20; install a newer one, then bin/setup --npm"),
        ({"FAKE_NPM_VIEW": "1"}, "the npm registry is out of reach or lacks it; to try again: bin/setup --npm"),
        ({"FAKE_NPM_INSTALL": "1"}, "npm could not install it"),
    ],
)
def test_trouble_with_npm_is_no_error_and_no_delay_the_next_time(
    machine: Machine, trouble: dict[str, str], reason: str
) -> None:
    machine.has("npm", NPM)
    machine.has("node", NODE)
    code, said = machine.setup(**trouble)
    assert code == 0
    assert f"claude-flow is left out: {reason}" in said
    machine.calls()
    assert machine.setup(**trouble) == (0, "")
    assert machine.calls() == []
    assert machine.setup("--npm") == (0, "bin/setup: installing claude-flow 3.43.0 from npm\n")


def test_a_new_environment_keeps_what_came_from_npm(machine: Machine) -> None:
    machine.has("npm", NPM)
    machine.has("node", NODE)
    machine.setup()
    (machine.checkout / ".venv/setup.stamp").unlink()
    machine.calls()
    assert machine.setup()[0] == 0
    assert not [call for call in machine.calls() if call.startswith("npm")]


def test_for_tests_claude_code_and_debian_packages_come_too(machine: Machine) -> None:
    machine.has("npm", NPM)
    machine.has("node", NODE)
    assert machine.setup("--test")[0] == 0
    asked = [call.split(" --")[0] for call in machine.calls() if call.startswith(("npm install", "npm rebuild"))]
    claude_code = "@anthropic-ai/claude-code"
    assert asked == [
        "npm install claude-flow@3.43.0",
        f"npm install {claude_code}@2.1.197",
        f"npm rebuild {claude_code}",
        f"npm install {NODE_PACKAGE}@{NODE_VERSION}",
        *(f"npm install @modelcontextprotocol/conformance@{version}" for version in CONFORMANCE_VERSIONS.values()),
        f"npm install @modelcontextprotocol/inspector@{INSPECTOR_VERSION}",
        f"npm install ws@{WS_VERSION}",
        f"npm install playwright-core@{PLAYWRIGHT_VERSION}",
    ]
    assert machine.setup("--test") == (0, "")
    (machine.programs / "jq").unlink()
    machine.has("id", "#!/bin/sh\necho 1000\n")
    code, said = machine.setup("--test")
    assert code == 69
    assert "as root: apt-get install -y jq" in said


def test_the_autobahn_suite_is_left_out_where_there_is_no_python_2_7(machine: Machine) -> None:
    left_out = (
        "bin/setup: autobahntestsuite is left out: Python 2.7 with pip is not installed; it runs on nothing newer"
    )
    code, said = machine.setup("--test")
    assert code == 0 and said.splitlines()[-1] == left_out
    assert machine.setup("--test") == (0, "")
    assert "autobahn" not in machine.setup("--test", "--npm")[1]
    machine.has("python2.7", PYTHON2)
    assert "autobahn" not in machine.setup("--test", FAKE_SHIM="1")[1]
    machine.calls()
    assert "installing autobahntestsuite 25.10.1 for Python 2.7 (python2.7)" in machine.setup("--test")[1]
    asked = [call for call in machine.calls() if call.startswith("python2.7 -m")]
    assert [call.rpartition(" ")[2].rpartition("/")[2] for call in asked] == [
        "virtualenv==20.15.1",
        "autobahn",
        "autobahntestsuite==25.10.1",
    ]
    venv = machine.checkout / ".venv"
    assert (venv / "autobahn/version").read_text(encoding="utf-8") == "25.10.1\n"
    assert not (venv / "virtualenv-2").exists() and not (venv / "autobahn.left-out").exists()
    assert machine.setup("--test") == (0, "")


def test_without_a_call_for_tests_nobody_looks_for_python_2_7(machine: Machine) -> None:
    machine.has("python2.7", PYTHON2)
    machine.setup()
    machine.setup("--test", "--python-only")
    assert not [call for call in machine.calls() if call.startswith("python2.7")]


def test_an_autobahn_suite_that_could_not_be_installed_is_tried_again_when_asked(machine: Machine) -> None:
    machine.has("python2.7", PYTHON2)
    said = machine.setup("--test", FAIL_AT="autobahntestsuite==25.10.1")[1]
    assert "autobahntestsuite is left out: pip could not install it (see " in said
    assert not (machine.checkout / ".venv/autobahn").exists()
    assert machine.setup("--test") == (0, "")
    assert machine.setup("--test", "--npm")[0] == 0
    assert (machine.checkout / ".venv/autobahn/version").is_file()


def test_an_unknown_argument_is_refused(machine: Machine) -> None:
    code, said = machine.setup("--tset")
    assert code == 2
    assert "unknown argument: --tset" in said


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_fresh_clone_gets_working_lean_console_scripts(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".*", "__pycache__", "state"))
    env = {**os.environ, "HIVE_PYTHON": os.path.realpath(sys.executable)}
    argv = [str(clone / "bin/setup"), "--python-only"]
    subprocess.run(argv, env=env, check=True, timeout=500)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    for name in declared:
        script = (clone / ".venv/bin" / name).read_text(encoding="utf-8")
        assert "import re\n" not in script  # as older pips wrote it: some milliseconds at every start
    [packages] = (clone / ".venv/lib").glob("python3.*/site-packages")
    assert not list(packages.glob("setuptools*")) and not list(packages.glob("distutils-precedence.pth"))
    stamp = clone / ".venv/setup.stamp"
    before = stamp.stat().st_mtime_ns
    again = subprocess.run(argv, env=env, capture_output=True, timeout=50)
    assert (again.returncode, again.stdout, again.stderr) == (0, b"", b"")
    assert stamp.stat().st_mtime_ns == before
