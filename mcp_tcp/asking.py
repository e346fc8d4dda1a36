"""A tool asked: its arguments checked, the session found, its telemetry loaded, the answer put into the shape of MCP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from hive_session.ondisk.cards import Card
from hive_session.ondisk.figures import recent
from hive_session.ondisk.sessions import Session, Sessions
from mcp_tcp.answers import Answers
from mcp_tcp.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, RpcError
from mcp_tcp.tools import About, Needs, Question, ServerFacts, Tool, ToolError, named_session

DISK_S = 15.0  # after so long an answer from the disk is given up
DISK_THREADS = 4

Reply: TypeAlias = bytes | Coroutine[Any, Any, bytes]  # at once, or when it is there
Shape: TypeAlias = Callable[[dict[str, Any]], bytes]  # how the answer of a tool goes out


class Fault(Exception):
    """Arguments that have no answer: one sentence for people. The era decides how it is told."""


@dataclass(slots=True)
class Asking:
    """Answers questions from what is in memory, at once; from telemetry that is not, or from files, as soon as it can."""

    sessions: Sessions
    facts: ServerFacts
    _answers: Answers = field(default_factory=Answers)
    _disk: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(DISK_THREADS))

    def ask(self, tool: Tool, args: Any) -> Reply:
        """A CallToolResult of `tool`. Raises: Fault, at once or when awaited."""
        if tool.needs is Needs.HIVE and type(args) is dict and len(args) == 1 and type(args.get("session_id")) is str:
            session = self.sessions.by_id.get(args["session_id"])
            if session is not None:
                return self._about(tool, session, args)
        # A tool without an output schema answers with a whole result: fixtures do.
        return self.shaped(tool, args, tool_result if tool.output_schema else orjson.dumps)

    def _about(self, tool: Tool, session: Session, args: dict[str, Any]) -> Reply:
        """The usual question, about one session and nothing else: its answer may be there already."""
        now_ms = time.time_ns() // 1_000_000
        kept = self._answers.get(tool.name, session, now_ms)
        if kept is not None:
            return kept
        reply = self.shaped(tool, args, tool_result)
        if not isinstance(reply, bytes):
            return self._keep(tool, session, reply)
        self._answers.put(tool.name, session, now_ms, reply)
        return reply

    async def _keep(self, tool: Tool, session: Session, reply: Coroutine[Any, Any, bytes]) -> bytes:
        found = await reply
        self._answers.put(tool.name, session, time.time_ns() // 1_000_000, found)
        return found

    def shaped(self, tool: Tool, args: Any, shape: Shape) -> Reply:
        """What `tool` says, in another shape. Raises: Fault, at once or when awaited."""
        question = self.question(tool, args)
        if tool.needs is Needs.DISK:
            return self._from_disk(tool, question, shape)
        if not all(map(_is_loaded, self._needed(tool, question))):
            return self._later(tool, question, shape)
        return shape(answer(tool, question))

    def question(self, tool: Tool, args: Any) -> Question:
        """The arguments checked and the session found. Raises: Fault."""
        if type(args) is not dict:
            raise Fault("arguments is not an object")
        if wrong := tool.check(args):
            raise Fault(f"{tool.name}: {wrong}")
        session = self._session(tool, args) if tool.about is not About.ALL else None
        return Question(
            args=args,
            session=session,
            sessions=self.sessions,
            now_ms=time.time_ns() // 1_000_000,
            server=self.facts,
        )

    def _session(self, tool: Tool, args: Mapping[str, Any]) -> Session | None:
        session_id = named_session(args)
        if session_id is None:
            if tool.about is About.ONE:
                raise Fault(f"{tool.name}: session_id is missing; session_list gives the ids of all sessions")
            return None
        return self.session(session_id)

    def session(self, session_id: str) -> Session:
        """The session of that id. Raises: Fault."""
        found = self.sessions.by_id.get(session_id)
        if found is None:
            raise Fault(f"no session {session_id[:64]!a}; session_list gives the ids of all sessions")
        return found

    def _needed(self, tool: Tool, question: Question) -> list[Session]:
        """Whose hive has to be in memory."""
        if tool.needs is Needs.CARDS:
            return []
        if tool.needs is Needs.RECENT:
            return recent(self.sessions, question.now_ms)
        if question.session is not None:
            return [question.session]
        return self.sessions.live() if tool.needs is Needs.LIVE else []

    async def load(self, session: Session) -> None:
        """Have the hive of a session in memory, letting others work between the slices."""
        # Nobody would tell: each look is a slice of the work.
        while not self.sessions.loaded(session):  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def _later(self, tool: Tool, question: Question, shape: Shape) -> bytes:
        while missing := [each for each in self._needed(tool, question) if each.fold is None]:
            for session in missing:
                await self.load(session)
        return shape(answer(tool, question))

    async def _from_disk(self, tool: Tool, question: Question, shape: Shape) -> bytes:
        return shape(await self.in_thread(lambda: answer(tool, question)))

    async def in_thread(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `work` returns, done where waiting for a disk holds up nobody. Raises: what it raises, RpcError."""
        async with self._disk:
            try:
                return await asyncio.wait_for(asyncio.to_thread(work), DISK_S)
            except TimeoutError:
                raise RpcError(INTERNAL_ERROR, f"the disk did not answer within {DISK_S:g} s; try again") from None


def answer(tool: Tool, question: Question) -> dict[str, Any]:
    """What the tool says. Raises: Fault."""
    try:
        return tool.answer(question)
    except ToolError as exc:
        raise Fault(str(exc)) from None


def _is_loaded(session: Session) -> bool:
    return session.fold is not None


def tool_result(found: dict[str, Any]) -> bytes:
    """A CallToolResult: the object's fields flat, as text in content[0] and as structuredContent, for every kind of client."""
    body = orjson.dumps(found)
    text = orjson.dumps(body.decode())
    return b'{%b,"content":[{"type":"text","text":%b}],"structuredContent":%b,"isError":false}' % (
        body[1:-1],
        text,
        body,
    )


def fault_result(sentence: str) -> bytes:
    """A CallToolResult that says why there is no answer."""
    return orjson.dumps({"content": [{"type": "text", "text": sentence}], "isError": True})


def invalid(fault: Fault) -> RpcError:
    """The same as a protocol error."""
    return RpcError(INVALID_PARAMS, str(fault))


def cards(sessions: Sessions) -> list[Card]:
    """The cards of all sessions, the newest first."""
    return [session.card for session in sessions.newest()]
