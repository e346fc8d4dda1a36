"""The pipes of a running child in the event loop: what goes in waits where it is full, what comes out is handed on.

The hot path is callbacks on descriptors: no task, no future, no stream.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Protocol

from mcp_tcp.proxy.child import ENDED, NOT_STARTED, NOTE, STARTED, Command, spawn

CHUNK_BYTES = 1 << 16  # a pipe's size, unless somebody changed it
DRAIN_CHUNKS = 17  # the largest size that a process may give its pipe is 1 MiB


class Owner(Protocol):
    """Who is told what comes of a child."""

    def child_started(self, pid: int) -> None: ...

    def child_not_started(self, why: str) -> None: ...

    def child_said(self, data: bytes) -> None:
        """Its output: bytes in pieces of any size."""

    def child_complained(self, data: bytes) -> None:
        """Its stderr, likewise."""

    def child_took_all(self) -> None:
        """All that `write` could not place at once is in the pipe now."""

    def child_ended(self, how: str) -> None:
        """It has ended, such as by "exit 7", and all it said before has been handed on."""

    def child_note(self, text: str) -> None:
        """Something for the log."""

    def child_gone(self) -> None:
        """Nothing is left of it, nor of what it started. The last call."""


class Pipes:
    """A child and the descriptors that lead to it."""

    def __init__(self, command: Command, owner: Owner) -> None:
        """Raises: OSError where no process or descriptor can be had."""
        self._child = child = spawn(command)
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._closes_when_sent = False
        self._stdin, self._stdout, self._stderr = child.stdin, child.stdout, child.stderr  # -1: closed
        self._over = False  # it has ended, or could not start
        self._loop.add_reader(self._stdout, self._read_stdout)
        self._loop.add_reader(self._stderr, self._read_stderr)
        self._loop.add_reader(child.control.fileno(), self._read_control)

    @property
    def keeper(self) -> int:
        """The pid of the process that sees to the child's end."""
        return self._child.keeper

    # -- in ------------------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> bool:
        """Give the child input. False: it is full, so write no more until `child_took_all`."""
        if self._stdin < 0:
            return True  # the child closed its input: nobody will read this
        sent = 0
        if not self._unsent:
            try:
                sent = os.write(self._stdin, data)
            except BlockingIOError:
                pass
            except OSError:
                self._close_stdin()
                return True
            if sent == len(data):
                return True
            self._loop.add_writer(self._stdin, self._write_more)
        self._unsent += data[sent:]
        return False

    def close_input(self) -> None:
        """Let the child see the end of its input once it has read what was written."""
        self._closes_when_sent = True
        if not self._unsent:
            self._close_stdin()

    def _write_more(self) -> None:
        try:
            del self._unsent[: os.write(self._stdin, self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._close_stdin()
        if self._unsent:
            return
        if self._closes_when_sent:
            self._close_stdin()
        if self._stdin >= 0:
            self._loop.remove_writer(self._stdin)
        self._owner.child_took_all()

    def _close_stdin(self) -> None:
        if self._stdin >= 0:
            self._loop.remove_writer(self._stdin)
            os.close(self._stdin)
            self._stdin = -1
            self._unsent.clear()

    # -- out -----------------------------------------------------------------------------------------------------------

    def pause_output(self) -> None:
        """Let the child's output wait in its pipe."""
        if self._stdout >= 0:
            self._loop.remove_reader(self._stdout)

    def resume_output(self) -> None:
        if self._stdout >= 0:
            self._loop.add_reader(self._stdout, self._read_stdout)

    def _read_stdout(self) -> None:
        try:
            data = os.read(self._stdout, CHUNK_BYTES)
        except BlockingIOError:
            return
        if data:
            self._owner.child_said(data)
        else:  # it can answer nothing more
            self.end()

    def _read_stderr(self) -> None:
        try:
            data = os.read(self._stderr, CHUNK_BYTES)
        except BlockingIOError:
            return
        if data:
            self._owner.child_complained(data)
        else:
            self._close_stderr()

    def _close_stdout(self) -> None:
        if self._stdout >= 0:
            self._loop.remove_reader(self._stdout)
            os.close(self._stdout)
            self._stdout = -1

    def _close_stderr(self) -> None:
        if self._stderr >= 0:
            self._loop.remove_reader(self._stderr)
            os.close(self._stderr)
            self._stderr = -1

    def _drain(self) -> None:
        """Hand on what a child that has ended left in its pipes."""
        for _ in range(DRAIN_CHUNKS):  # what it left behind could write for ever
            if self._stdout >= 0:
                self._read_stdout()
            if self._stderr >= 0:
                self._read_stderr()

    # -- the end -------------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """End the child and all it started; nothing more of its output is handed on, but its stderr is."""
        self._close_stdin()
        self._close_stdout()
        self._child.end()

    def _read_control(self) -> None:
        try:
            message = self._child.control.recv(1 << 16)
        except BlockingIOError:
            return
        except ConnectionError:
            message = b""
        word, _, rest = message.decode("utf-8", "replace").partition(" ")
        if word == STARTED:
            self._owner.child_started(int(rest))
        elif word == NOT_STARTED:
            self._over = True
            self._owner.child_not_started(rest)
        elif word == ENDED:
            self._end_with(rest)
        elif word == NOTE:
            self._owner.child_note(rest)
        else:
            self._leave()

    def _end_with(self, how: str) -> None:
        self._over = True
        self._drain()
        self._owner.child_ended(how)
        self.end()

    def _leave(self) -> None:
        if not self._over:
            self._end_with("its keeper was killed")
        self._loop.remove_reader(self._child.control.fileno())
        with suppress(OSError):
            self._child.control.close()
        self._close_stderr()
        self._owner.child_gone()
