"""All sessions of a workspace kept in memory and up to date: cards from the records, hives from the telemetry.

What is kept is small: a card each, the hive of each live session, and the hives of the few others that were asked for last.
Nothing is read again that did not change: inotify tells what did, and a slow sweep looks where inotify is deaf.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Callable

from hive_session.ondisk.cards import LIVE, Card, Change, card_of, unreadable_card
from hive_session.ondisk.fold import Hive
from hive_session.ondisk.folding import Fold, News, size_of, stamp_of
from hive_session.ondisk.layout import Layout, SessionPaths, is_session_id
from hive_session.ondisk.liveness import run_is_alive, run_is_over
from hive_session.ondisk.record_file import read_record
from hive_session.ondisk.records import BadRecord, SessionRecord, format_time
from hive_session.ondisk.verdict import with_outcome
from hive_session.ondisk.watch import Watch
from hive_session.ondisk.witnesses import judge_run, stop_was_asked

KEPT_HIVES = 64  # of sessions that do not run
ENDED_ROUNDS = 6  # a session that has ended is looked at in one round of sweeps of so many
SWEEP_PARTS = 10  # one sweep looks at so small a part of all sessions
ROUND_S = 5.0  # in which sweeps should see every session once
DEAF_S = 0.25  # the same where inotify has no more watches to give
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # of the machine's, which say nothing of a file
RETRY = -1  # no stamp of a file: it is read again by the next sweep


class Session:
    """One session; its hive is None while its telemetry is not in memory."""

    __slots__ = ("card", "fold", "revision", "stamp", "telemetry_stamp", "watches")

    def __init__(self, card: Card) -> None:
        self.card = card
        self.fold: Fold | None = None
        self.revision = 0  # grows with each change of card or hive
        self.stamp = 0  # of the session.json that the card was made from
        self.telemetry_stamp = 0  # of telemetry.jsonl, when a sweep last looked or its growth was told
        self.watches: tuple[int | None, int | None] = (None, None)  # of the directory, of telemetry.jsonl

    @property
    def hive(self) -> Hive | None:
        """What its telemetry adds up to."""
        return self.fold.hive if self.fold else None

    @property
    def cpu_percent(self) -> float | None:
        """What its process tree took of one core between its last two samples; None: not known."""
        return self.fold.cpu_percent if self.fold else None

    @property
    def offset(self) -> int:
        """How far its telemetry is folded."""
        return self.fold.lines.offset if self.fold else 0


class Sessions:
    """Every session of the workspace by id. `on_change` hears of each change, after it is in place.

    `on_news` hears before it what exactly new telemetry did to a hive; None: nobody wants to know.
    """

    def __init__(self, layout: Layout, on_change: Callable[[str, Change], None] = lambda _id, _change: None) -> None:
        self.layout = layout
        self.by_id: dict[str, Session] = {}
        self.on_change = on_change
        self.on_news: Callable[[Session, News], None] | None = None
        self._watch = Watch()
        self._root_watch: int | None = None
        self._newest: list[Session] | None = None
        self._folding: dict[str, Fold] = {}
        self._recent: OrderedDict[str, None] = OrderedDict()  # ids of ended sessions whose hive is kept; oldest first
        self._behind: dict[str, None] = {}  # whose telemetry holds more than one slice of new events
        self._logs: dict[str, tuple[int | None, int]] = {}  # watched ones: the watch, and their size when it began
        self._rest: list[str] = []  # ids that this round of sweeps still has to look at
        self._part = 1
        self._round = 0

    # -- reading -------------------------------------------------------------------------------------------------------

    def newest(self) -> list[Session]:
        """All sessions, the newest created first; do not change the list."""
        if self._newest is None:
            self._newest = sorted(self.by_id.values(), key=_age, reverse=True)
        return self._newest

    def live(self) -> list[Session]:
        """Those that start or run, the newest first."""
        return [session for session in self.newest() if session.card.status in LIVE]

    def loaded(self, session: Session) -> bool:
        """True when its hive is in memory; else one slice of the way there is gone, and it is to be asked again."""
        session_id = session.card.id
        if session.fold is not None:
            if session_id in self._recent:
                self._recent.move_to_end(session_id)
            return True
        fold = self._folding.get(session_id)
        if fold is None:
            fold = self._folding[session_id] = Fold(self.layout.session(session_id).telemetry)
        if fold.step() and fold.behind:
            return False
        del self._folding[session_id]
        fold.restart_where_replaced()  # from now on it knows its file
        session.fold = fold
        session.revision += 1  # no watch may have told that there is more of it
        self._keep(session)
        return True

    def _keep(self, session: Session) -> None:
        """Count the hive of one that does not run, and let go of the one that nobody asked for longest."""
        if session.card.live or session.fold is None or session.card.id not in self.by_id:
            return
        self._recent[session.card.id] = None
        self._recent.move_to_end(session.card.id)
        while len(self._recent) > KEPT_HIVES:
            oldest, _ = self._recent.popitem(last=False)
            self.by_id[oldest].fold = None

    # -- keeping up ----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Read every session there is, and watch for what comes."""
        self._watch_root()

    def fileno(self) -> int:
        """Readable when something changed: call `refresh`."""
        return self._watch.fileno()

    @property
    def deaf(self) -> bool:
        """True when the kernel refused a watch, so that only sweeps see some changes."""
        return self._watch.exhausted

    @property
    def pause_s(self) -> float:
        """Seconds to wait from one sweep to the next."""
        return (DEAF_S if self.deaf else ROUND_S) / SWEEP_PARTS

    def refresh(self) -> bool:
        """Take in all that changed on disk before this call. True: some telemetry is longer; call again soon."""
        if self._watch.pending() and not self._watch.drain():
            self.sweep(parts=1)
            for session_id in list(self._logs):
                self.on_change(session_id, Change.LOG)
        if self._behind:
            behind, self._behind = self._behind, {}
            for session_id in behind:
                self._follow(session_id)
        return bool(self._behind)

    def sweep(self, parts: int = SWEEP_PARTS) -> bool:
        """Look at a part of the sessions for what no watch told; call it again and again. True: a round has begun.

        A round of `parts` sweeps sees every session that has not ended, and a few of the others, so that each is seen in
        one round of ENDED_ROUNDS.
        """
        begins = not self._rest or parts == 1
        if begins:
            if self._watch.holds(self._root_watch):
                self._list()
            else:
                self._watch_root()
            self._round = (self._round + 1) % ENDED_ROUNDS
            self._rest = [
                session_id
                for place, (session_id, session) in enumerate(self.by_id.items())
                if parts == 1 or not session.card.terminal or place % ENDED_ROUNDS == self._round
            ]
            self._part = max(1, -(-len(self._rest) // parts))
        for session_id in self._rest[: self._part]:
            self._look(session_id)
        del self._rest[: self._part]
        return begins

    def close(self) -> None:
        self._watch.close()

    # -- the workspace -------------------------------------------------------------------------------------------------

    def _watch_root(self) -> None:
        """Watch the sessions, or where they will appear."""
        self._watch.forget(self._root_watch)
        self._root_watch = self._watch.directory(self.layout.sessions, self._root_told)
        if self._root_watch is None:
            self._watch.directory(self.layout.swarm, lambda name: self._watch_root() if name == "sessions" else None)
        self._list()

    def _root_told(self, name: str) -> None:
        if is_session_id(name):
            if os.path.isdir(f"{self.layout.sessions}/{name}"):
                self._add(name)
            else:
                self._remove(name)

    def _list(self) -> None:
        try:
            found = set(os.listdir(self.layout.sessions))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            found = set()
        except OSError:
            return  # for want of a descriptor or memory nobody is gone; the next round looks again
        for session_id in [known for known in self.by_id if known not in found]:
            self._remove(session_id)
        for name in found.difference(self.by_id):
            self._root_told(name)

    def _add(self, session_id: str) -> None:
        if session_id in self.by_id:
            return
        session = self.by_id[session_id] = Session(unreadable_card(session_id, "it was not read yet", None))
        self._newest = None
        # The watches come first: what changes while we read is told, and read once more.
        self._watch_session(session)
        session.telemetry_stamp = stamp_of(self.layout.session(session_id).telemetry)
        self._read(session)
        if session.fold is not None:
            session.fold.take_news()  # a new session is news enough
        self._tell(session, Change.LIST | Change.RECORD)

    def _remove(self, session_id: str) -> None:
        session = self.by_id.pop(session_id, None)
        if session is None:
            return
        for number in session.watches:
            self._watch.forget(number)
        self._recent.pop(session_id, None)
        self._folding.pop(session_id, None)
        self._behind.pop(session_id, None)
        self._newest = None
        self._tell(session, Change.LIST | Change.RECORD)

    # -- one session ---------------------------------------------------------------------------------------------------

    def _watch_session(self, session: Session) -> None:
        """Put in place what watches are missing."""
        session_id = session.card.id
        paths = self.layout.session(session_id)
        directory, telemetry = session.watches
        if not self._watch.holds(directory):
            directory = self._watch.directory(paths.dir, lambda name: self._told(session_id, name))
        if not self._watch.holds(telemetry):
            telemetry = self._watch.file(paths.telemetry, lambda _name: self._follow(session_id))
        session.watches = (directory, telemetry)

    def _told(self, session_id: str, name: str) -> None:
        session = self.by_id.get(session_id)
        if session is None:
            return
        if name in ("session.json", "run.lock"):
            self._reread(session)
        elif name == "telemetry.jsonl" and (
            session.fold is None or not self._watch.holds(session.watches[1]) or session.fold.restart_where_replaced()
        ):
            self._watch_anew(session)

    def _watch_anew(self, session: Session) -> None:
        """Follow the file that stands in the place of the one that was watched, from its beginning."""
        if self._renew_watch(session) or session.fold is not None:
            self._follow(session.card.id)

    def _renew_watch(self, session: Session) -> bool:
        """Watch the telemetry that stands there now. True: it is another file than the one that was watched."""
        before, session.watches = session.watches, (session.watches[0], None)
        self._watch_session(session)
        if before != session.watches:
            self._watch.forget(before[1])
        return before != session.watches

    def _look(self, session_id: str) -> None:
        """See for ourselves whether anything of a session changed."""
        session = self.by_id.get(session_id)
        if session is None:
            return
        paths = self.layout.session(session_id)
        self._watch_session(session)
        card = session.card
        if session.stamp != stamp_of(paths.record) or (card.live and not card.external and run_is_over(paths.run_lock)):
            self._reread(session)
        stamp = stamp_of(paths.telemetry)
        if stamp != session.telemetry_stamp or (session.fold is not None and session.fold.behind):
            session.telemetry_stamp = stamp  # before the look: what changes meanwhile is seen by the next
            self._renew_watch(session)
            if session.fold is not None:
                session.fold.restart_where_replaced()
            self._follow(session_id)
        if session_id in self._logs:
            self._look_at_log(session_id)

    def _reread(self, session: Session) -> None:
        before = session.card
        self._read(session)
        if session.card == before:
            return
        if session.card.created_ms != before.created_ms:
            self._newest = None
        if before.live:
            self._keep(session)
        self._tell(session, Change.RECORD)

    def _read(self, session: Session) -> None:
        """Make the card anew from session.json and, where that says that it runs, from the kernel."""
        paths = self.layout.session(session.card.id)
        session.stamp = stamp_of(paths.record)
        try:
            session.card = card_of(self._settle(session, paths))
        except FileNotFoundError:
            session.card = unreadable_card(paths.id, f"{paths.record} is missing", None)
        except BadRecord as exc:
            session.card = unreadable_card(paths.id, str(exc), session.card.created_ms)
        except OSError as exc:
            if exc.errno in SHORTAGES and session.revision:
                session.stamp = RETRY
                return  # what was known of it stays, until there is enough again
            why = f"{exc.filename or paths.record}: {exc.strerror}"
            session.card = unreadable_card(paths.id, why, session.card.created_ms)
            session.stamp = RETRY  # the trouble may pass without the file being touched
        if session.card.live:
            self._recent.pop(paths.id, None)
            self.loaded(session)  # a young one is read at once, a longer one when it is asked for

    def _settle(self, session: Session, paths: SessionPaths) -> SessionRecord:
        """The record; of a run that is over and was not put down yet, as the control plane will write it."""
        record = read_record(paths)
        if record.status not in LIVE or record.external or run_is_alive(paths.run_lock):
            return record
        record = read_record(paths)  # it may have ended, in good order, since we read
        if record.status not in LIVE or run_is_alive(paths.run_lock):
            return record
        while not self.loaded(session):
            continue
        assert session.hive is not None
        requested = "cancelled" if stop_was_asked(paths) else None
        outcome, ended_ms = judge_run(paths, record, session.hive, requested=requested)
        return with_outcome(record, outcome, format_time(ended_ms / 1000, millis=True) if ended_ms else None)

    def _follow(self, session_id: str) -> None:
        """Fold what is new in the telemetry of a session whose hive is in memory."""
        session = self.by_id.get(session_id)
        if session is None:
            return
        if session.fold is None:
            session.telemetry_stamp = stamp_of(self.layout.session(session_id).telemetry)
            self._tell(session, Change.TELEMETRY | Change.AGENTS)
            return
        fold = session.fold
        was_unreadable = fold.unreadable
        if fold.step() and fold.behind:
            self._behind[session_id] = None
        # Not only what this step took: `loaded` may have been faster than the news of it.
        news = fold.take_news()
        if news.grown:
            if self.on_news is not None:
                self.on_news(session, news)
            changed = news.agents or news.anew
            self._tell(session, Change.TELEMETRY | Change.AGENTS if changed else Change.TELEMETRY)
        elif fold.unreadable and not was_unreadable:
            self._tell(session, Change.TELEMETRY)  # once: it did change, and nobody knows how

    def _tell(self, session: Session, change: Change) -> None:
        session.revision += 1
        self.on_change(session.card.id, change)

    # -- logs ----------------------------------------------------------------------------------------------------------

    def watch_log(self, session_id: str) -> None:
        """Have `on_change` hear of the growth of this log from now on."""
        watch, _ = self._logs.get(session_id, (None, 0))
        if not self._watch.holds(watch):
            path = self.layout.session(session_id).log
            watch = self._watch.file(path, lambda _name: self.on_change(session_id, Change.LOG))
            self._logs[session_id] = watch, size_of(path)

    def unwatch_log(self, session_id: str) -> None:
        """The growth of this log is of no interest any more."""
        watch, _ = self._logs.pop(session_id, (None, 0))
        self._watch.forget(watch)

    def _look_at_log(self, session_id: str) -> None:
        """Put the watch of a log in place that is missing, and tell whether the log grew meanwhile."""
        watch, size = self._logs[session_id]
        if not self._watch.holds(watch):
            self.watch_log(session_id)
            if self._logs[session_id][1] != size:
                self.on_change(session_id, Change.LOG)


def _age(session: Session) -> tuple[int, str]:
    return session.card.created_ms or 0, session.card.id
