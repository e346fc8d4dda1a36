"""Where the npm programs live that the tests run: under the virtual environment, never on the system."""

from __future__ import annotations

import sys
from pathlib import Path

# The product's own claude-flow, and Claude Code, which only the tests bring along.
PRODUCT_PREFIX = Path(sys.prefix, "node")
TEST_PREFIX = Path(sys.prefix, "node-test")

CLAUDE_FLOW_VERSION = "3.43.0"
CLAUDE_VERSION = "2.1.197"  # the newest that runs on Node 20

CLAUDE_FLOW_BIN = PRODUCT_PREFIX / "node_modules" / ".bin" / "claude-flow"
CLAUDE_BIN = TEST_PREFIX / "node_modules" / ".bin" / "claude"

# npm installs a stub of 500 bytes that its postinstall replaces by the program of 245 MB.
_CLAUDE_STUB_MAX_BYTES = 100_000


def missing_programs() -> list[str]:
    """What the real chain lacks, each with the command that brings it; empty when it can run."""
    missing = []
    if not CLAUDE_FLOW_BIN.is_file():
        missing.append(
            f"claude-flow: npm install claude-flow@{CLAUDE_FLOW_VERSION} --omit=optional --ignore-scripts"
            f" --prefix {PRODUCT_PREFIX}"
        )
    if not CLAUDE_BIN.is_file():
        missing.append(
            f"Claude Code: npm install @anthropic-ai/claude-code@{CLAUDE_VERSION} --ignore-scripts"
            f" --prefix {TEST_PREFIX}"
        )
    elif CLAUDE_BIN.stat().st_size < _CLAUDE_STUB_MAX_BYTES:
        missing.append(f"Claude Code's program: npm rebuild @anthropic-ai/claude-code --prefix {TEST_PREFIX}")
    return missing
