"""The installed hive-rehearsal as a process: bytes in, lines out, files left, exit codes, signals, weight."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CAPTURES = Path(__file__).parents[1] / "fixtures" / "claude-stream"
AS_CLAUDE = ("-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions")
ANY_BYTES = random.Random(0).randbytes(1_000_000)
DEADLINE_S = 20

Json = dict[str, Any]


@pytest.fixture
def program(scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The program's path; it runs in an empty directory and leaves its results in tmp_path/out."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HIVE_OUTPUT_DIR", str(tmp_path / "out"))
    return str(scripts / "hive-rehearsal")


def run(program: str, *args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program, *AS_CLAUDE, *args], input=stdin, capture_output=True, timeout=DEADLINE_S)


def decoded(output: bytes) -> list[Json]:
    """The lines that a reader of stream-json takes: objects with a type."""
    lines = []
    for raw in output.splitlines():
        try:
            line = json.loads(raw)
        except ValueError:
            continue
        if isinstance(line, dict) and "type" in line:
            lines.append(line)
    return lines


def started(program: str, *args: str) -> subprocess.Popen[bytes]:
    """A process whose first line has been read."""
    process = subprocess.Popen([program, *AS_CLAUDE, *args, "task"], stdout=subprocess.PIPE)
    assert process.stdout
    assert json.loads(process.stdout.readline())["subtype"] == "init"
    return process


def rest_of(process: subprocess.Popen[bytes]) -> bytes:
    return process.communicate(timeout=DEADLINE_S)[0]


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def test_two_runs_with_the_same_arguments_write_the_same_bytes(program: str) -> None:
    one, other = (run(program, "--seconds", "0", "--noise", "Build it") for _ in range(2))
    assert one.stdout == other.stdout
    assert one.returncode == 0
    assert one.stderr == b""


def test_the_task_alone_decides_the_seed(program: str) -> None:
    by_argument = run(program, "--seconds", "0", "Build it")
    by_stdin = run(program, "--seconds", "0", stdin=b"Build it")
    assert by_argument.stdout == by_stdin.stdout
    assert by_argument.stdout != run(program, "--seconds", "0", "Build that").stdout


def test_a_task_of_a_megabyte_of_any_bytes_arrives_intact_from_stdin(program: str, tmp_path: Path) -> None:
    result = run(program, "--seconds", "0", stdin=ANY_BYTES)
    assert result.returncode == 0
    assert (tmp_path / "out" / "task.txt").read_bytes() == ANY_BYTES
    assert decoded(result.stdout)[-1]["type"] == "result"


@pytest.mark.parametrize(
    "task",
    [
        b"-leading",
        b"--help",
        b"--seed",
        b"two\nlines\n",
        b"'single' \"double\" `back` \\",
        b"$(id); rm -rf / & |",
        "emoji 🐝 naïve".encode(),
        b"bytes \xff\xfe that are no UTF-8",
        b"100 kB " + b"x" * 100_000,
    ],
    ids=lambda task: task[:12].decode("utf-8", "replace"),
)
def test_a_task_arrives_intact_as_an_argument(program: str, tmp_path: Path, task: bytes) -> None:
    result = run(program, "--seconds", "0", "--", os.fsdecode(task))
    assert result.returncode == 0
    assert (tmp_path / "out" / "task.txt").read_bytes() == task


def test_the_report_tells_what_was_played(program: str, tmp_path: Path) -> None:
    run(program, "--seconds", "0", "--workers", "3", "--seed", "5", "Build the importer")
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "no model is involved" in report
    assert "    Build the importer" in report
    assert report.count("| worker-") == 3


def test_without_an_output_directory_nothing_is_written(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HIVE_OUTPUT_DIR")
    before = sorted(tmp_path.rglob("*"))
    assert run(program, "--seconds", "0", "task").returncode == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_each_line_leaves_in_a_single_write(program: str) -> None:
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # keeps writes apart
    with reader, subprocess.Popen([program, "--seconds", "0.2", "task"], stdout=writer.fileno()) as process:
        writer.close()
        reader.settimeout(DEADLINE_S)
        pieces = [reader.recv(1 << 20)]
        while json.loads(pieces[-1])["type"] != "result":
            pieces.append(reader.recv(1 << 20))
        assert process.wait(DEADLINE_S) == 0
    assert all(piece.count(b"\n") == 1 and piece.endswith(b"\n") for piece in pieces)
    assert len(pieces) > 40


def test_noise_adds_lines_and_changes_none(program: str) -> None:
    quiet = run(program, "--seconds", "0", "--workers", "20", "task").stdout
    noisy = run(program, "--seconds", "0", "--workers", "20", "--noise", "task").stdout
    assert decoded(noisy) == decoded(quiet)
    assert len(noisy.splitlines()) > len(quiet.splitlines()) + 20


def test_it_fails_on_purpose_with_the_code_asked_for(program: str, tmp_path: Path) -> None:
    result = run(program, "--seconds", "0", "--exit-code", "7", "task")
    assert result.returncode == 7
    assert decoded(result.stdout)[-1]["is_error"] is True
    assert (tmp_path / "out" / "report.md").exists()


def test_a_crash_leaves_no_result_and_no_report(program: str, tmp_path: Path) -> None:
    result = run(program, "--seconds", "0", "--crash", "task")
    assert result.returncode == 70
    assert "result" not in {line["type"] for line in decoded(result.stdout)}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["task.txt"]


@pytest.mark.parametrize(
    "args",
    [
        ("--seed", "x", "task"),
        ("--workers", "0", "task"),
        ("--workers", "1001", "task"),
        ("--seconds", "nan", "task"),
        ("--exit-code", "256", "task"),
        ("--retries", "11", "task"),
        ("--session-id", "../../x", "task"),
        ("--resume", "task-without-an-id", "task"),
        ("task", "--seconds"),
        (),
        ("",),
    ],
    ids=" ".join,
)
def test_bad_arguments_get_one_line_and_touch_nothing(program: str, tmp_path: Path, args: tuple[str, ...]) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = run(program, *args)
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.startswith(b"hive-rehearsal: ")
    assert result.stderr.count(b"\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_it_answers_for_its_version_and_its_use(program: str) -> None:
    assert run(program, "--version").stdout == b"2.1.197 (hive rehearsal)\n"
    usage = run(program, "--help").stdout.decode()
    assert usage.startswith("Examples:\n")
    assert max(map(len, usage.splitlines())) < 110


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_at_once_and_silently(program: str, number: signal.Signals, code: int) -> None:
    process = started(program, "--seconds", "3600")
    process.send_signal(number)
    assert rest_of(process) == b""
    assert process.returncode == code


def test_a_signal_ends_it_even_while_nobody_reads(program: str) -> None:
    process = started(program, "--seconds", "0", "--workers", "1000")  # more than a pipe holds
    process.terminate()
    assert process.wait(DEADLINE_S) == 143
    kill(process)


def test_it_can_be_told_to_ignore_sigterm(program: str) -> None:
    process = started(program, "--seconds", "0.5", "--ignore-sigterm")
    process.terminate()
    assert decoded(rest_of(process))[-1]["type"] == "result"
    assert process.returncode == 0


def test_it_ends_quietly_when_its_reader_goes(program: str) -> None:
    with subprocess.Popen(
        [program, "--seconds", "0", "--workers", "1000", "task"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(DEADLINE_S) == 141


def test_a_full_disk_is_an_error_in_one_line(program: str) -> None:
    with open("/dev/full", "wb") as full:
        result = subprocess.run([program, "task"], stdout=full, stderr=subprocess.PIPE, timeout=DEADLINE_S)
    assert result.returncode == 74
    assert result.stderr == b"hive-rehearsal: [Errno 28] No space left on device\n"


def test_an_output_directory_that_is_none_is_an_error_before_the_first_line(program: str, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"a file")
    result = run(program, "--seconds", "0", "task")
    assert (result.returncode, result.stdout) == (74, b"")
    assert result.stderr.count(b"\n") == 1


def test_it_weighs_little_more_than_a_bare_python(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What compiling leaves behind in memory is not the program's weight: let the first run do that.
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "compiled"))
    run(program, "--seconds", "0", "task")
    bare = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert bare.stdout
    bare.stdout.readline()
    process = started(program, "--seconds", "3600")
    own_kb = rss_kb(process.pid) - rss_kb(bare.pid)
    kill(bare)
    kill(process)
    assert own_kb < 3584


def test_it_waits_without_working(program: str) -> None:
    process = started(program, "--seconds", "2")
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0  # reaped above
    kill(process)
    assert usage.ru_utime + usage.ru_stime < 0.6


def rss_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def shapes(lines: list[Json]) -> dict[tuple[str, ...], set[str]]:
    """The keys that lines of each kind have, those of their parts among them as dotted names."""
    found: dict[tuple[str, ...], set[str]] = {}
    for line in lines:
        parts = [line.get("subtype") or "", "worker" if line.get("parent_tool_use_id") else ""]
        if line["type"] in ("assistant", "user"):
            parts += [block["type"] for block in line["message"]["content"]]
            parts.append("answer" if isinstance(line.get("tool_use_result"), dict) else "")
        found.setdefault((line["type"], *parts), set()).update(keys(line))
    return found


def keys(line: Json, under: str = "") -> set[str]:
    names = set()
    for name, value in line.items():
        names.add(under + name)
        if isinstance(value, dict) and name not in ("modelUsage", "input"):
            names |= keys(value, f"{under}{name}.")
    return names


def test_its_lines_have_the_keys_that_claude_code_gives_them(program: str) -> None:
    real = shapes(
        [
            line
            for name in ("hive", "two_workers", "retry")
            for line in decoded((CAPTURES / f"{name}.jsonl").read_bytes())
        ]
    )
    played = shapes(decoded(run(program, "--seconds", "0", "--workers", "30", "--retries", "1", "task").stdout))
    common = real.keys() & played.keys()
    assert {kind[:2] for kind in common} >= {
        ("system", "init"),
        ("system", "task_started"),
        ("system", "task_progress"),
        ("system", "task_updated"),
        ("system", "task_notification"),
        ("system", "api_retry"),
        ("result", "success"),
        ("assistant", ""),
        ("user", ""),
    }
    for kind in common:
        assert played[kind] - real[kind] == set(), kind
        assert real[kind] - played[kind] <= {"memory_paths", "memory_paths.auto"}, kind
