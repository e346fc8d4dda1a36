"""The console script ws-relay, also `python -m ws_relay`."""

import gc
import sys


def main() -> int:
    """Entry point of `ws-relay`; returns its exit code."""
    gc.disable()  # what is imported stays to the end: looking through it for garbage is a tenth of the start
    from ws_relay.server import main as serve

    gc.collect()
    gc.freeze()
    gc.enable()
    return serve()


if __name__ == "__main__":
    sys.exit(main())
