"""Removing old sessions: exactly those beyond their age, only what is ours, and whole, whatever kills it on the way."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from hive_session.ondisk.records import format_time
from tests.integration.console import SCRIPT, Console

HOUR_S = 3600.0
JUST_UNDER_S = (1, 2, 5, 10, 30)  # the slower the machine, the more of these come of age before the cleanup


def end(console: Console, session_id: str, status: str = "completed", *, ago_s: float, offset: str = "+00:00") -> str:
    """The same id, its record rewritten as ended `ago_s` seconds ago, given in that offset's local time."""
    path = Path(console.paths(session_id).record)
    record = json.loads(path.read_bytes())
    hours = int(offset[:3])
    local = format_time(time.time() - ago_s + hours * HOUR_S, millis=True).replace("+00:00", offset)
    record |= {"status": status, "ended": local, "reason": "exit", "exit_code": 0 if status == "completed" else 1}
    path.write_text(json.dumps(record), encoding="utf-8")
    return session_id


def ended(console: Console, *ages_s: float, status: str = "completed") -> list[str]:
    """Ids of new sessions that ended so many seconds ago; the index knows."""
    ids = console.seed(len(ages_s))
    for session_id, age_s in zip(ids, ages_s, strict=True):
        end(console, session_id, status, ago_s=age_s)
    console.answer("reindex")
    return ids


def cleaned(console: Console, *words: str) -> set[str]:
    """The ids that `cleanup WORDS…` named, after its count was checked."""
    lines = console.answer("cleanup", *words).decode().splitlines()
    ids = {line.split()[-3] for line in lines[:-1]}
    assert all(line.startswith(("Cleaning up session: ", "Would clean up session: ")) for line in lines[:-1])
    assert lines[-1] in (f"Cleaned up {len(ids)} old sessions", f"Would clean up {len(ids)} old sessions")
    assert len(ids) == len(lines) - 1
    return ids


def audit(console: Console) -> list[dict[str, object]]:
    """The lines of the audit file."""
    try:
        return [json.loads(line) for line in Path(console.layout.audit).read_bytes().splitlines()]
    except FileNotFoundError:
        return []


def left(console: Console) -> set[str]:
    """Ids of the sessions that are still there, the same by directory and by index."""
    ids = {name for name in os.listdir(console.layout.sessions) if len(name) == 36}
    assert json.loads(Path(console.layout.index).read_bytes())["sessions"].keys() == ids
    return ids


def expect_the_aged_gone(console: Console, ids: list[str], limit_s: float, *words: str) -> None:
    """`cleanup WORDS…` takes every session that is of age when it begins, none that is not yet when it is over."""
    ends = {each: datetime.fromisoformat(console.on_disk(each)["ended"]).timestamp() for each in ids}
    began = time.time()
    gone = cleaned(console, *words)
    over = time.time()
    of_age = {moment: {each for each in ids if moment - ends[each] >= limit_s} for moment in (began, over)}
    assert of_age[began] <= gone <= of_age[over]
    assert left(console) == set(ids) - gone


# --- which ---


@pytest.mark.parametrize("hours", [48, 24, 12, 6, 1.5, 0.01])
def test_the_age_counts_to_the_second_whatever_the_hours(console: Console, hours: float) -> None:
    limit = hours * HOUR_S
    ids = ended(console, limit + HOUR_S, limit, *(limit - each for each in JUST_UNDER_S))
    for each in ids:
        os.utime(console.paths(each).dir, (0, 0))  # the directory's own time says nothing
    expect_the_aged_gone(console, ids, limit, str(hours))


def test_the_ages_that_the_original_rounded_to_days(console: Console) -> None:
    ages = (1, 13, 23, 25, 30, 47, 49, 73)
    by_age = dict(zip(ages, ended(console, *(age * HOUR_S for age in ages)), strict=True))
    for hours in (48, 24, 12, 6, 0):
        expected = {each for age, each in by_age.items() if age >= hours and each in left(console)}
        assert cleaned(console, str(hours)) == expected
    assert left(console) == set()


def test_without_hours_it_is_a_day(console: Console) -> None:
    ids = ended(console, 24 * HOUR_S, *(24 * HOUR_S - each for each in JUST_UNDER_S))
    expect_the_aged_gone(console, ids, 24 * HOUR_S)


def test_failed_sessions_can_be_kept_longer(console: Console) -> None:
    completed, failed, long_failed = console.seed(3)
    end(console, completed, ago_s=2 * HOUR_S)
    end(console, failed, "failed", ago_s=2 * HOUR_S)
    end(console, long_failed, "failed", ago_s=9 * HOUR_S)
    console.answer("reindex")
    assert cleaned(console, "1", "--keep-failed", "8") == {completed, long_failed}
    assert left(console) == {failed}


def test_only_what_has_ended_goes_however_old(console: Console) -> None:
    created, starting, running, live = *console.seed(3), console.create(console.shell("exec sleep 60"))
    console.move(starting, "starting")
    console.move(running, "starting", "running")
    console.start(live)
    for session_id in (created, starting, running):
        path = Path(console.paths(session_id).record)
        old = json.loads(path.read_bytes()) | {"created": format_time(0), "updated": format_time(0)}
        path.write_text(json.dumps(old), encoding="utf-8")
    assert cleaned(console, "0") == set()
    assert left(console) == {created, starting, running, live}


def test_the_end_counts_in_any_offset_and_falls_back_as_the_original_s_files_need(console: Console) -> None:
    east, west, no_end, unreadable_end = console.seed(4)
    end(console, east, ago_s=10 * HOUR_S, offset="+09:00")
    end(console, west, ago_s=1 * HOUR_S, offset="-08:00")
    for session_id, key in ((no_end, "updated"), (unreadable_end, "ended")):
        path = Path(console.paths(session_id).record)
        record = json.loads(path.read_bytes()) | {
            "status": "completed",
            "updated": format_time(time.time() - 10 * HOUR_S),
        }
        path.write_text(json.dumps(record | ({"ended": "yesterday"} if key == "ended" else {})), encoding="utf-8")
    console.answer("reindex")
    assert cleaned(console, "9") == {east, no_end, unreadable_end}
    assert left(console) == {west}


def test_a_dry_run_names_the_same_and_touches_nothing(console: Console) -> None:
    ids = ended(console, 10 * HOUR_S, 5 * HOUR_S, 0)
    before = console.snapshot()
    for words in (("6",), ("0",), ("0", "--keep-failed", "2"), ("0", "--outputs", "--logs")):
        chosen = cleaned(console, *words, "--dry-run")
        assert console.snapshot() == before
        assert chosen == (set(ids[:1]) if words == ("6",) else set(ids))
    assert cleaned(console, "6") == {ids[0]}


def test_json_gives_an_object_a_session(console: Console) -> None:
    (session_id,) = ended(console, 2 * HOUR_S)
    for dry_run in (True, False):
        words = ("--dry-run",) if dry_run else ()
        (line,) = console.answer("cleanup", "1", "--json", *words).splitlines()
        shown = json.loads(line)
        assert (shown["session_id"], shown["status"], shown["dry_run"]) == (session_id, "completed", dry_run)
    assert console.answer("cleanup", "1", "--json") == b""


# --- how ---


def test_outputs_and_logs_stay_unless_asked_for(console: Console) -> None:
    plain, outputs, logs = ended(console, 3 * HOUR_S, 2 * HOUR_S, 1 * HOUR_S)
    for session_id in (plain, outputs, logs):
        Path(console.paths(session_id).output, "artefact").write_text("kept", encoding="utf-8")
        for backup in ("", ".1", ".5"):
            Path(console.paths(session_id).log + backup).write_text("log", encoding="utf-8")
    Path(console.paths(logs).log + ".old").write_text("not a backup of ours", encoding="utf-8")
    assert cleaned(console, "3") == {plain}
    assert cleaned(console, "2", "--outputs") == {outputs}
    assert cleaned(console, "1", "--logs") == {logs}
    assert sorted(os.listdir(console.layout.output_root)) == sorted([plain, logs])
    assert Path(console.paths(plain).output, "artefact").read_text(encoding="utf-8") == "kept"
    bases = [os.path.basename(console.paths(each).log) for each in (plain, outputs)]
    expected = [base + backup for base in bases for backup in ("", ".1", ".5")]
    assert sorted(os.listdir(console.layout.log_dir)) == sorted(
        [*expected, os.path.basename(console.paths(logs).log) + ".old"]
    )


def test_each_removal_is_one_line_in_the_audit_file(console: Console) -> None:
    first, second = ended(console, 3 * HOUR_S, 2 * HOUR_S)
    console.answer("cleanup", "3")
    before = Path(console.layout.audit).read_bytes()
    console.answer("cleanup", "2")
    console.answer("cleanup", "2")
    assert Path(console.layout.audit).read_bytes().startswith(before)
    lines = audit(console)
    assert [line["session_id"] for line in lines] == [first, second]
    for line in lines:
        assert line["status"] == "completed" and line["task"] == "work"
        assert line.keys() >= {"removed", "trash", "reason", "exit_code", "created", "ended", "output_dir"}
    assert os.listdir(console.layout.trash) == []


def test_two_cleanups_at_once_remove_and_count_each_session_once(console: Console) -> None:
    ids = ended(console, *(HOUR_S + each for each in range(30)))
    calls = [subprocess.Popen([SCRIPT, "cleanup", "1"], env=console.env, stdout=subprocess.PIPE) for _ in range(3)]
    said = b"".join(call.communicate(timeout=40)[0] for call in calls).decode().splitlines()
    assert [call.returncode for call in calls] == [0, 0, 0]
    assert sorted(line.split()[3] for line in said if line.startswith("Cleaning")) == sorted(ids)
    assert sum(int(line.split()[2]) for line in said if line.startswith("Cleaned")) == 30
    assert sorted(str(line["session_id"]) for line in audit(console)) == sorted(ids)
    assert left(console) == set() and os.listdir(console.layout.trash) == []


# --- what is not ours ---


def test_what_does_not_carry_our_marker_is_never_removed(console: Console, tmp_path: Path) -> None:
    linked, foreign, renamed, torn, empty, bare = ended(console, *[5 * HOUR_S] * 6)
    sessions = Path(console.layout.sessions)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(sessions / linked, tmp_path / "elsewhere" / linked)
    (sessions / linked).symlink_to(tmp_path / "elsewhere" / linked)
    record = json.loads((sessions / foreign / "session.json").read_bytes())
    (sessions / foreign / "session.json").write_text(
        json.dumps({"status": "completed", "mine": record}), encoding="utf-8"
    )
    other = json.loads((sessions / renamed / "session.json").read_bytes()) | {"session_id": foreign}
    (sessions / renamed / "session.json").write_text(json.dumps(other), encoding="utf-8")
    raw = (sessions / torn / "session.json").read_bytes()
    (sessions / torn / "session.json").write_bytes(raw[: len(raw) // 2])
    (sessions / empty / "session.json").unlink()
    shutil.rmtree(sessions / bare)
    (sessions / bare).write_text("a file with the name of a session", encoding="utf-8")
    (sessions / "keep-me").mkdir()
    before = {name: value for name, value in console.snapshot().items() if not name.endswith("index.json")}
    assert cleaned(console, "0", "--outputs", "--logs") == set()
    after = {name: value for name, value in console.snapshot().items() if not name.endswith("index.json")}
    assert after == before
    assert (tmp_path / "elsewhere" / linked / "session.json").exists()


@pytest.mark.root
def test_a_session_on_another_filesystem_is_not_ours_to_remove(console: Console) -> None:
    mounted, plain = ended(console, 5 * HOUR_S, 5 * HOUR_S)
    place = Path(console.paths(mounted).dir)
    raw = (place / "session.json").read_bytes()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True, timeout=10)
    try:
        (place / "session.json").write_bytes(raw)
        assert cleaned(console, "0") == {plain}
        assert (place / "session.json").read_bytes() == raw
    finally:
        subprocess.run(["umount", "--lazy", place], check=True, timeout=10)


def test_links_within_a_session_are_removed_not_followed(console: Console, tmp_path: Path) -> None:
    (session_id,) = ended(console, HOUR_S)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    Path(console.paths(session_id).dir, "link").symlink_to(precious)
    output = Path(console.paths(session_id).output)
    output.rmdir()
    output.symlink_to(precious)
    assert cleaned(console, "1", "--outputs") == {session_id}
    assert (precious / "file").exists()


# --- killed on the way ---


def steps(console: Console) -> Iterator[tuple[int, str]]:
    """(step, id of an expired session) until a cleanup gets through alive."""
    for step in range(60):
        (session_id,) = ended(console, 2 * HOUR_S)
        Path(console.paths(session_id).dir, "deep").mkdir()
        Path(console.paths(session_id).dir, "deep", "file").touch()
        yield step, session_id


@pytest.mark.timeout(240)
def test_a_cleanup_killed_at_any_step_is_completed_by_the_next(console: Console) -> None:
    (bystander,) = console.seed(1)
    for step, session_id in steps(console):
        code = console.kill_at(step, "cleanup", "1")
        assert code in (0, -9)
        rows = json.loads(console.answer("list"))["sessions"]
        there = os.path.isdir(console.paths(session_id).dir)
        assert rows.keys() == ({bystander, session_id} if there else {bystander})
        if there:
            assert console.do("status", session_id).stdout == b"completed\n"
        console.answer("cleanup", "1")
        assert left(console) == {bystander}
        assert os.listdir(console.layout.trash) == []
        assert [line["session_id"] for line in audit(console)].count(session_id) == 1
        if code == 0:
            break
    assert code == 0 and step > 8


def test_several_at_once_complete_what_was_killed_with_one_line_each(console: Console) -> None:
    ids = ended(console, *[HOUR_S] * 60)
    os.makedirs(console.layout.trash)
    for session_id in ids:
        os.rename(console.paths(session_id).dir, f"{console.layout.trash}/{session_id}.1")
    calls = [subprocess.Popen([SCRIPT, "cleanup"], env=console.env, stdout=subprocess.PIPE) for _ in range(4)]
    assert [call.communicate(timeout=40)[0] for call in calls] == [b"Cleaned up 0 old sessions\n"] * 4
    assert sorted(str(line["session_id"]) for line in audit(console)) == sorted(ids)
    assert left(console) == set() and os.listdir(console.layout.trash) == []
