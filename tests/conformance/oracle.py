"""Two judges of what a server emits, both written by others: the protocol's JSON Schemas, and the official SDK's models."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator, Draft202012Validator  # type: ignore[import-untyped]  # ships no types
from mcp_types import methods
from pydantic import ValidationError

from tests.npm import CONFORMANCE_MAINS, NODE_BIN

Json = dict[str, Any]

VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
HANDSHAKE_VERSIONS = VERSIONS[:4]
EMPTY = ("ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe")


class Schemas:
    """The JSON Schema of one version. There is none of 2024-11-05 to be had; that of 2025-03-26 takes its place.

    Between the two only batches, audio and completions' capability were added, none of which is required.
    """

    def __init__(self, version: str) -> None:
        schema = _official()["2025-03-26" if version == "2024-11-05" else version]
        self._key = "$defs" if "$defs" in schema else "definitions"
        self._kind = Draft202012Validator if self._key == "$defs" else Draft7Validator
        self._defs: Json = schema[self._key]
        self._named = {
            named["properties"]["method"]["const"]: name
            for name, named in self._defs.items()
            if "const" in named.get("properties", {}).get("method", {})
        }
        self._compiled: dict[str, Any] = {}

    def faults(self, message: Json, method: str | None) -> list[str]:
        """What is wrong with a message, which answers a request of `method` unless it is a notification."""
        if "method" in message:
            return self._against(self._named.get(message["method"], "no such notification"), message)
        if "error" in message:
            return self._against(self._first("JSONRPCErrorResponse", "JSONRPCError"), _with_an_id(message))
        frame = self._against(self._first("JSONRPCResultResponse", "JSONRPCResponse"), message)
        result = self._named[method].removesuffix("Request") + "Result" if method in self._named else ""
        return frame + self._against(result if result in self._defs else "EmptyResult", message["result"])

    def _first(self, *names: str) -> str:
        return next(name for name in names if name in self._defs)

    def _against(self, name: str, value: object) -> list[str]:
        if name not in self._defs:
            return [f"{name}: not in the schema"]
        if name not in self._compiled:
            self._compiled[name] = self._kind({"$ref": f"#/{self._key}/{name}", self._key: self._defs})
        return [
            f"{name}: {fault.json_path}: {fault.message[:200]}" for fault in self._compiled[name].iter_errors(value)
        ]


def _with_an_id(error: Json) -> Json:
    """JSON-RPC 2.0 asks for the id null where none could be read; MCP's schema knows no null, so it is not shown one."""
    return {**error, "id": 0} if error.get("id", 0) is None else error


@cache
def _official() -> dict[str, Json]:
    script = Path(__file__).with_name("schemas.mjs")
    done = subprocess.run([NODE_BIN, script, CONFORMANCE_MAINS["0.2"]], capture_output=True, check=True, timeout=30)
    found: dict[str, Json] = json.loads(done.stdout)
    return found


class Models:
    """The models with which the official Python client checks what a server of one version sends it."""

    def __init__(self, version: str) -> None:
        self._version = version

    def faults(self, message: Json, method: str | None) -> list[str]:
        """What is wrong with a message, which answers a request of `method` unless it is a notification."""
        try:
            if "method" in message:
                methods.parse_server_notification(message["method"], self._version, message.get("params"))
            elif "error" in message:
                return _faults_of_error(message["error"])
            elif (method, self._version) in methods.SERVER_RESULTS:
                methods.validate_server_result(str(method), self._version, message["result"])
            else:
                return [f"{method} has no result in {self._version}"]
        except (KeyError, ValidationError) as exc:
            return [f"{message.get('method', method)}: {exc}"]
        return []


def _faults_of_error(error: Json) -> list[str]:
    fits = (
        type(error.get("code")) is int
        and isinstance(error.get("message"), str)
        and error.keys()
        <= {
            "code",
            "message",
            "data",
        }
    )
    return [] if fits else [f"no error object: {error}"]
