"""What a child says besides its messages, made fit for the log: whole lines, cut, escaped, and not too many; pure."""

from __future__ import annotations

MAX_CHARS = 500
LINES_PER_S = 20.0
BURST_LINES = 200.0

_MAX_BYTES = 4 * MAX_CHARS + 1  # a character has four bytes at most, and the one beyond tells that something was cut


class ChildWords:
    """Collects what one child says beside the protocol, and gives the lines that may be logged.

    More than BURST_LINES at once and LINES_PER_S for long are counted instead; a line says how many when it has quietened.
    """

    __slots__ = ("_allowance", "_at_s", "_left_out", "_rest")

    def __init__(self, now_s: float) -> None:
        self._rest = b""
        self._allowance = BURST_LINES
        self._at_s = now_s
        self._left_out = 0

    def feed(self, data: bytes, now_s: float) -> list[str]:
        """The lines for the log that `data`, bytes in pieces of any size, completes."""
        *ended, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:_MAX_BYTES]
        return self._admit(ended, now_s)

    def end(self, now_s: float) -> list[str]:
        """What is left to say when the child has ended."""
        rest, self._rest = self._rest, b""
        lines = self._admit([rest], now_s)
        return [*lines, *self._tell_left_out()]

    def line(self, line: bytes, now_s: float) -> list[str]:
        """As `feed`, for a line that is whole already."""
        return self._admit([line], now_s)

    def _admit(self, lines: list[bytes], now_s: float) -> list[str]:
        self._allowance = min(BURST_LINES, self._allowance + (now_s - self._at_s) * LINES_PER_S)
        self._at_s = now_s
        said: list[str] = []
        for line in lines:
            if line.isspace() or not line:
                continue
            if self._allowance < 1.0:
                self._left_out += 1
                continue
            self._allowance -= 1.0
            said += [*self._tell_left_out(), printable(line)]
        return said

    def _tell_left_out(self) -> list[str]:
        left_out, self._left_out = self._left_out, 0
        return [f"({left_out} lines left out)"] if left_out else []


def printable(line: bytes) -> str:
    """A line as one line of text of at most MAX_CHARS characters, with control characters escaped."""
    text = line[:_MAX_BYTES].strip().decode("utf-8", "replace")
    visible = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return visible if len(visible) <= MAX_CHARS else f"{visible[: MAX_CHARS - 1]}…"
