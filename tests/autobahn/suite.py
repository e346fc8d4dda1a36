"""The Autobahn TestSuite, whose fuzzing client runs on Python 2.7 alone, against a WebSocket server that echoes.

python -m tests.autobahn.suite ws://127.0.0.1:PORT/PATH      the cases that fail, as JSON
python -m tests.autobahn.suite --own-echo                    those that `websockets` itself fails: expected_failures.json
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PLACE = Path(sys.prefix, "autobahn")  # bin/setup makes it where there is a Python 2.7
PYTHON = PLACE / "bin/python"
NOTE = Path(sys.prefix, "autobahn.left-out")  # and says here why not
CONFORMS = {"OK", "NON-STRICT", "INFORMATIONAL"}
AGENT = "echo"
SUITE_MAX_S = 1500.0


def missing() -> str | None:
    """Why the suite cannot run here; None when it can."""
    if (PLACE / "version").is_file():
        return None
    return NOTE.read_text(encoding="utf-8").strip() if NOTE.is_file() else "the Autobahn TestSuite needs Python 2.7"


def expected_failures() -> dict[str, str]:
    """Cases that `websockets` itself fails -> why."""
    found: dict[str, str] = json.loads((HERE / "expected_failures.json").read_text(encoding="utf-8"))
    return found


def run(url: str, directory: Path) -> dict[str, str]:
    """Each case -> what became of it, such as "OK" or "FAILED, close OK". Specs and reports go to `directory`.

    The parts of cases.json run beside each other. Raises: RuntimeError when one does not come to its end.
    """
    parts: list[list[str]] = json.loads((HERE / "cases.json").read_text(encoding="utf-8"))
    with ThreadPoolExecutor(len(parts)) as pool:
        done = pool.map(lambda part: _run_part(url, parts[part], directory / str(part)), range(len(parts)))
        return {number: found for results in done for number, found in results.items()}


def _run_part(url: str, cases: list[str], directory: Path) -> dict[str, str]:
    directory.mkdir()
    spec: dict[str, Any] = {"outdir": str(directory), "servers": [{"agent": AGENT, "url": url}], "cases": cases}
    spec |= {"exclude-cases": [], "exclude-agent-cases": {}}
    (directory / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    argv = [str(PYTHON), "-m", "autobahntestsuite.wstest", "-m", "fuzzingclient", "-s", str(directory / "spec.json")]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, cwd=directory, timeout=SUITE_MAX_S)
    index = directory / "index.json"
    if done.returncode or not index.is_file():
        raise RuntimeError(f"the suite ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:].decode()}")
    results = json.loads(index.read_text(encoding="utf-8"))[AGENT]
    return {number: behaviour(case) for number, case in results.items()}


def behaviour(case: dict[str, str]) -> str:
    """One word for a case that went well, both words of the suite for one that did not."""
    if case["behavior"] in CONFORMS and case["behaviorClose"] in CONFORMS:
        return case["behavior"]
    return f"{case['behavior']}, close {case['behaviorClose']}"


def failures(results: dict[str, str]) -> dict[str, str]:
    """The cases that did not go well, in the order of their numbers."""
    wrong = {number: found for number, found in results.items() if found not in CONFORMS}
    return dict(sorted(wrong.items(), key=lambda item: [int(part) for part in item[0].split(".")]))


@contextmanager
def own_echo() -> Iterator[str]:
    """The address of an echo server that is `websockets` and nothing of ours."""
    argv = [sys.executable, str(HERE / "echo.py")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        port = int(server.stderr.readline().rpartition(":")[2])
        yield f"ws://127.0.0.1:{port}"


def main() -> int:
    reason = missing()
    if reason or len(sys.argv) != 2:
        sys.stderr.write(f"{reason or __doc__}\n")
        return 2
    with tempfile.TemporaryDirectory() as directory:
        if sys.argv[1] == "--own-echo":
            with own_echo() as url:
                results = run(url, Path(directory))
        else:
            results = run(sys.argv[1], Path(directory))
    sys.stdout.write(json.dumps(failures(results), indent=2) + "\n")
    sys.stderr.write(f"{len(results)} cases\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
