"""The console script mcp-tcp, also `python -m mcp_tcp`."""

import gc
import sys

from hive_session.ondisk.lean import leave_out_tls


def main() -> int:
    """Entry point of `mcp-tcp`; returns its exit code."""
    gc.disable()  # what is imported stays to the end: looking through it for garbage is a tenth of the start
    leave_out_tls()
    from mcp_tcp.server import main as serve

    gc.collect()
    gc.freeze()
    gc.enable()
    return serve()


if __name__ == "__main__":
    sys.exit(main())
