"""Where the npm programs live that the tests run: under the virtual environment, never on the system."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

# The product's own claude-flow, and Claude Code, which only the tests bring along.
PRODUCT_PREFIX = Path(sys.prefix, "node")
TEST_PREFIX = Path(sys.prefix, "node-test")

# Every directory that bin/setup fills from npm.
PREFIXES = [
    PRODUCT_PREFIX,
    TEST_PREFIX,
    *(
        Path(sys.prefix, f"node-{name}")
        for name in ("22", "conformance-0.1", "conformance-0.2", "inspector", "ws", "playwright")
    ),
]

CLAUDE_FLOW_VERSION = "3.43.0"
CLAUDE_VERSION = "2.1.197"  # the newest that runs on Node 20

CLAUDE_FLOW_BIN = PRODUCT_PREFIX / "node_modules" / ".bin" / "claude-flow"
CLAUDE_BIN = TEST_PREFIX / "node_modules" / ".bin" / "claude"

# What tests the data plane from outside: the official conformance suite, once for each generation, and the official
# Inspector, both with a Node.js of their own, as they need 22.
NODE_VERSION = "22.23.3"
NODE_PACKAGE = f"node-linux-{'arm64' if platform.machine() == 'aarch64' else 'x64'}"
NODE_BIN = Path(sys.prefix, "node-22", "node_modules", NODE_PACKAGE, "bin", "node")
CONFORMANCE_VERSIONS = {"0.1": "0.1.16", "0.2": "0.2.0-alpha.12"}
CONFORMANCE_MAINS = {
    series: Path(
        sys.prefix, f"node-conformance-{series}", "node_modules/@modelcontextprotocol/conformance/dist/index.js"
    )
    for series in CONFORMANCE_VERSIONS
}
INSPECTOR_VERSION = "2.12.0"
INSPECTOR_MAIN = Path(
    sys.prefix, "node-inspector", "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
)

# What tests the relay from outside: Node's WebSocket client, and what drives a browser.
WS_VERSION, PLAYWRIGHT_VERSION = "8.23.0", "1.65.1"
WS_MODULES = Path(sys.prefix, "node-ws", "node_modules")
PLAYWRIGHT_MODULES = Path(sys.prefix, "node-playwright", "node_modules")

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
    return [*missing, *_missing_packages()]


def _missing_packages() -> list[str]:
    suites = [
        (CONFORMANCE_MAINS[series], f"node-conformance-{series}", f"@modelcontextprotocol/conformance@{version}")
        for series, version in CONFORMANCE_VERSIONS.items()
    ]
    wanted = [
        (NODE_BIN, "node-22", f"{NODE_PACKAGE}@{NODE_VERSION}"),
        *suites,
        (INSPECTOR_MAIN, "node-inspector", f"@modelcontextprotocol/inspector@{INSPECTOR_VERSION}"),
        (WS_MODULES / "ws/index.js", "node-ws", f"ws@{WS_VERSION}"),
        (PLAYWRIGHT_MODULES / "playwright-core/index.js", "node-playwright", f"playwright-core@{PLAYWRIGHT_VERSION}"),
    ]
    return [
        f"{package}: npm install {package} --ignore-scripts --prefix {Path(sys.prefix, directory)}"
        for file, directory, package in wanted
        if not file.is_file()
    ]
