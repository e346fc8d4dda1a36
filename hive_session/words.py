"""How figures read to people, on the terminal and in logs (one language everywhere: the same words as the page). Pure."""

import unicodedata

DAY_S = 86_400
COLORS = {
    "waiting": "bright_black",
    "starting": "yellow",
    "running": "blue",
    "working": "blue",
    "done": "green",
    "failed": "red",
}
MARKS = {"waiting": "○", "starting": "◐", "running": "●", "working": "●", "done": "✓", "failed": "✗"}


def duration(seconds: float) -> str:
    """`12 s`, `3 m 12 s`, `2 h 5 m`, `3 d 4 h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60} s"
    if whole < DAY_S:
        return f"{whole // 3600} h {whole % 3600 // 60} m"
    return f"{whole // DAY_S} d {whole % DAY_S // 3600} h"


def count(number: float) -> str:
    """`950`, `12.4 k`, `3.1 M`."""
    if number < 1000:
        return f"{number:.0f}"
    return f"{number / 1000:.1f} k" if number < 999_950 else f"{number / 1e6:.1f} M"


def money(usd: float | None) -> str:
    """`$0.042`, `$0.21`, `$12.70`; a dash where it is not known."""
    if usd is None:
        return "-"
    text = f"${usd:.3f}" if usd < 0.1 else f"${usd:.2f}"
    return text[:-1] if usd < 0.1 and text.endswith("0") else text


def plural(number: int, noun: str) -> str:
    """`1 agent`, `14 agents`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def age(seconds: float, created: str) -> str:
    """How long ago something was created: relative below a day, the date above."""
    return duration(seconds) if seconds < DAY_S else created[:10]


def color(state: str) -> str:
    """The colour of a session's state or an agent's status; "" for one of which nothing is known."""
    return COLORS.get(state.partition(":")[0], "")


def mark(state: str) -> str:
    """The mark that says the same as the colour."""
    return MARKS.get(state.partition(":")[0], "-")


def columns(text: str) -> int:
    """How many columns of a terminal printable `text` takes: two for an ideograph or emoji, none for an accent of its own."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me") else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text
    )


def one_line(text: str, width: int) -> str:
    """`text` on one line of at most `width` columns, blanks for control characters, an ellipsis where it was cut."""
    head = text.strip()[: 8 * width + 8]  # a task may have megabytes
    clean = "".join(c if c.isprintable() else " " for c in head).strip()
    if len(head) == len(text.strip()) and columns(clean) <= width:
        return clean
    end, room = 0, width - 1
    while end < len(clean) and (room := room - columns(clean[end])) >= 0:
        end += 1
    return clean[:end].rstrip() + "…"


def progress_line(
    session_id: str,
    word: str,
    *,
    seconds: float,
    agents: int,
    tokens: int,
    cost_usd: float | None,
    headline: str,
) -> str:
    """The line that says all about one session: `550e8400  running  3 m 12 s  14 agents  12.4 k tok  $0.21  queen: planning`."""
    parts = (
        f"{session_id[:8]}  {word:<9}",
        f"{duration(seconds):>9}",
        f"{plural(agents, 'agent'):>9}",
        f"{count(tokens):>7} tok",
        f"{money(cost_usd):>7}",
        headline,
    )
    return "  ".join(parts).rstrip()
