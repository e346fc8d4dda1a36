"""Scripts of tests/browser at work on the page of a relay, and the sessions that they look at."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.hive import SCRIPTS, Hive, until
from tests.integration.mcp_server import HALF_A_PLAY
from tests.integration.ws_server import Json, RelayProcess
from tests.npm import NODE_BIN, PLAYWRIGHT_MODULES

BROWSER = Path(__file__).parents[1] / "browser"
CHROMIUM = shutil.which("chromium")
SCRIPT_MAX_S = 240
NODES = ["#58a6ff", "#3fb950", "#f85149", "#8b949e"]  # running, done, failed, waiting, in the dark theme


def begin(script: str, relay: RelayProcess, **job: Any) -> subprocess.Popen[bytes]:
    """A script of tests/browser at work on the page of `relay`."""
    if CHROMIUM is None:
        pytest.skip("needs Debian's Chromium: apt-get install chromium")
    url = f"http://127.0.0.1:{relay.port}/"
    words = {"modules": str(PLAYWRIGHT_MODULES), "chromium": CHROMIUM, "url": url, "colours": NODES, **job}
    return subprocess.Popen(
        [NODE_BIN, BROWSER / f"{script}.mjs", json.dumps(words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def said(call: subprocess.Popen[bytes]) -> Json:
    """What a script found out; `foreign` and `problems` are what the page must not do."""
    try:
        out, err = call.communicate(timeout=SCRIPT_MAX_S)
    finally:
        call.kill()
    assert call.returncode == 0, err.decode()
    found: Json = json.loads(out)
    return found


def await_step(call: subprocess.Popen[bytes], step: str) -> None:
    """Return once a script says that it has come so far; it gives up by itself."""
    assert call.stderr
    heard = call.stderr.readline().decode()
    assert heard == f"{step}\n", heard + call.stderr.read().decode()


def browse(script: str, relay: RelayProcess, **job: Any) -> Json:
    """What a script found out about a page that asked nobody else for anything, and broke no rule."""
    return in_order(said(begin(script, relay, **job)))


def in_order(found: Json) -> Json:
    assert (found["foreign"], found["problems"]) == ([], [])
    return found


def half_played(hive: Hive) -> str:
    """A session whose rehearsal stopped in the middle of its play: its agents stay at work for ten minutes."""
    program = Path(hive.root, "half-a-play")
    program.write_text(HALF_A_PLAY.format(scripts=SCRIPTS), encoding="utf-8")
    program.chmod(0o755)
    session_id = hive.create("claude", task="Build the importer")
    hive.start(session_id, env={"HIVE_CLAUDE_BIN": str(program), "IS_SANDBOX": "1"})
    until(lambda: sub_agent_acts(hive.events(session_id)), "the last line of the play")
    return session_id


def sub_agent_acts(events: list[Json]) -> bool:
    """Half of the play was taken in: its last event is what a worker's own agent has used."""
    called = {event["agent"] for event in events if event.get("role") == "subagent"}
    return any(event["type"] == "usage" and event["agent"] in called for event in events)
