"""The console script ws-relay, also `python -m ws_relay`."""

import gc
import sys

from hive_session.ondisk.lean import leave_out_tls, load_when_used


def main() -> int:
    """Entry point of `ws-relay`; returns its exit code."""
    gc.disable()  # what is imported stays to the end: looking through it for garbage is a tenth of the start
    leave_out_tls()
    load_when_used("importlib.metadata")  # websockets imports it, with half of email, for versions without a number
    from ws_relay.server import main as serve

    gc.collect()
    gc.freeze()
    gc.enable()
    return serve()


if __name__ == "__main__":
    sys.exit(main())
