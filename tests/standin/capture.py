"""Captures the streams in tests/fixtures/claude-stream from the real Claude Code, driven by the stand-in.

`python -m tests.standin.capture` writes them all anew; run it as root or as a plain user.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.npm import CLAUDE_BIN, missing_programs
from tests.standin.messages_api import MessagesApi

FIXTURES = Path(__file__).parents[1] / "fixtures" / "claude-stream"
NOBODY = 65534  # Claude Code refuses --dangerously-skip-permissions to root
RUN_TIMEOUT_S = 60.0
STREAM = ("-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One fixture: which scenario, with or without a key, and after which bytes of output a SIGTERM comes."""

    name: str
    scenario: str
    key: bool = True
    kill_after: bytes | None = None


CAPTURES = (
    Capture(name="hive", scenario="hive"),
    Capture(name="answer", scenario="answer"),
    Capture(name="two_workers", scenario="two_workers"),
    Capture(name="nested", scenario="nested"),
    Capture(name="background", scenario="background"),
    Capture(name="background_shell", scenario="background_shell"),
    Capture(name="retry", scenario="overloaded_then_ok"),
    Capture(name="bad_key", scenario="bad_key"),
    Capture(name="not_logged_in", scenario="answer", key=False),
    # By then the worker has used its tool; its report would take 20 s more.
    Capture(name="killed", scenario="slow:20", kill_after=b'"tool_result"'),
)


def session_environment(session: Path, base_url: str, *, key: bool) -> dict[str, str]:
    """All that Claude Code needs to run offline and to write nothing outside `session`."""
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "HOME": str(session / "home"),
        "TMPDIR": str(session / "tmp"),
        "XDG_CACHE_HOME": str(session / "cache"),
        "CLAUDE_CONFIG_DIR": str(session / "claude"),
        "HIVE_OUTPUT_DIR": str(session / "output"),
        "ANTHROPIC_BASE_URL": base_url,
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    return environment | ({"ANTHROPIC_API_KEY": "dummy"} if key else {})


def scrub(stream: bytes, session: Path) -> bytes:
    """The stream with the session's directory called /session, as a path and in the name made of it."""
    slug = re.sub(r"[^A-Za-z0-9]", "-", str(session))
    return stream.replace(str(session).encode(), b"/session").replace(slug.encode(), b"-session")


def _await_output(claude: subprocess.Popen[bytes], out: Path, wanted: bytes) -> None:
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while wanted not in out.read_bytes():
        if claude.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Claude Code never wrote {wanted!r}")
        time.sleep(0.02)


def capture(plan: Capture, session: Path) -> tuple[bytes, int]:
    """Run Claude Code once in `session`; its scrubbed stdout and its exit code."""
    user = NOBODY if os.geteuid() == 0 else None
    if user is not None:
        os.chown(session, user, user)
    out = session / "claude.jsonl"
    with MessagesApi(plan.scenario) as api, out.open("wb") as stdout:
        claude = subprocess.Popen(
            [str(CLAUDE_BIN), *STREAM, "Write the report, with workers."],
            cwd=session,
            env=session_environment(session, api.base_url, key=plan.key),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            user=user,
            group=user,
            extra_groups=[] if user is not None else None,
        )
        if plan.kill_after is not None:
            _await_output(claude, out, plan.kill_after)
            claude.send_signal(signal.SIGTERM)
        exit_code = claude.wait(RUN_TIMEOUT_S)
    return scrub(out.read_bytes(), session), exit_code


def main() -> int:
    """Write every fixture; each one's exit code goes to stderr."""
    if missing := missing_programs():
        sys.stderr.write("".join(f"missing {line}\n" for line in missing))
        return 69
    for plan in CAPTURES:
        with tempfile.TemporaryDirectory(prefix="capture-") as directory:
            stream, exit_code = capture(plan, Path(directory))
        (FIXTURES / f"{plan.name}.jsonl").write_bytes(stream)
        sys.stderr.write(f"{plan.name}: exit code {exit_code}, {len(stream.splitlines())} lines\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
