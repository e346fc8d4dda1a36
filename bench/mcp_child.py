"""The program behind a proxy: answers each JSON line on stdin with one on stdout; with `stay` it outlives its stdin."""

import signal
import sys

import orjson

TEXT = "x" * 250  # an answer of about 330 bytes

for line in sys.stdin.buffer:
    request = orjson.loads(line)
    result = {"content": [{"type": "text", "text": TEXT}]}
    sys.stdout.buffer.write(orjson.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}) + b"\n")
    sys.stdout.buffer.flush()
if "stay" in sys.argv:
    signal.pause()
