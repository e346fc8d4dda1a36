"""The console script: answers the reads that programs poll before anything costly is imported, and leaves the rest to the CLI.

`status UUID` is answered here when the answer is plain: a whole record in our own form whose status its run.lock confirms. In
doubt (another form, a torn file, a stale run, an unknown id, any flag) the CLI answers. A test holds both answers equal, byte
for byte.
"""

import os
import sys

from hive_session.ondisk.home import acting_home
from hive_session.ondisk.layout import SessionPaths, is_session_id, resolve_layout

_OPENING = b'{\n  "status": "'
_SCHEMA = b'",\n  "schema": 1,\n'
_CLOSING = b"\n}\n"  # nothing but the end of a record looks so: line ends within texts are escaped


def main() -> int:
    """Entry point of `hive-session`; returns its exit code."""
    argv = sys.argv[1:]
    if len(argv) == 2 and argv[0] == "status" and is_session_id(argv[1]):
        word = read_status(argv[1])
        if word is not None and _print(word):
            return 0
    import gc

    gc.disable()  # what is imported stays to the end: looking through it for garbage is a sixth of a command's time
    from hive_session.cli.app import main as cli

    gc.freeze()
    gc.enable()
    return cli()


def read_status(session_id: str) -> str | None:
    """The status of a session where it is beyond doubt; None where somebody has to look closer."""
    layout = resolve_layout(os.environ, acting_home(os.environ), os.path.isdir)
    try:
        return _look(layout.session(session_id))
    except OSError:
        return None


def _look(paths: SessionPaths) -> str | None:
    with open(paths.record, "rb", buffering=0) as file:
        head = file.read(64)
        file.seek(-len(_CLOSING), os.SEEK_END)
        closing = file.read()
    text, schema, _ = head.partition(_SCHEMA)
    if not text.startswith(_OPENING) or not schema or closing != _CLOSING:
        return None
    word = text[len(_OPENING) :].decode("ascii", "replace")
    if word in ("completed", "failed", "created"):
        return word
    if word in ("starting", "running"):
        from hive_session.ondisk.liveness import run_is_alive

        return word if run_is_alive(paths.run_lock) else None
    return None


def _print(word: str) -> bool:
    """Answer; False where stdout takes nothing: the CLI has words for that."""
    try:
        os.write(1, word.encode() + b"\n")
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
