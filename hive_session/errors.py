"""Every way hive-session says no: one class a kind of answer, each with its exit code.

HiveError
├── UsageError        2  the words of the call are wrong
├── BadFile          65  a file on disk is not what docs/format.md says
├── NoSession         1  no session has that id (the original's code for it)
├── Refused           1  the answer is no: the session's state forbids it
├── CannotCreate     73  a file or directory could not be made
├── IoFailed         74  reading or writing failed (disk full, I/O error)
├── Busy             75  somebody else holds what is needed; retrying is correct
├── NotPermitted     77  this user may not do that
└── BadConfig        78  a configuration file, key or variable is wrong
"""

import errno


class HiveError(Exception):
    """What is wrong, and in `hint` what to do about it; `exit_code` is what the process returns."""

    exit_code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class UsageError(HiveError):
    exit_code = 2


class BadFile(HiveError):
    exit_code = 65


class NoSession(HiveError):
    exit_code = 1


class Refused(HiveError):
    exit_code = 1


class CannotCreate(HiveError):
    exit_code = 73


class IoFailed(HiveError):
    exit_code = 74


class Busy(HiveError):
    exit_code = 75


class NotPermitted(HiveError):
    exit_code = 77


class BadConfig(HiveError):
    exit_code = 78


def from_os_error(exc: OSError, doing: str) -> HiveError:
    """The error for people behind a failed system call; `doing` says what was tried, such as `writing the index`."""
    where = f"{doing} {exc.filename}" if exc.filename else doing.removesuffix(":")
    text = f"{where}: {exc.strerror or exc}"
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return IoFailed(
            f"{text}; nothing was changed",
            "free some space (hive-session cleanup --dry-run shows what could go)",
        )
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return NotPermitted(
            f"{text}; nothing was changed", "run as the user who owns the workspace, or set HIVE_WORKSPACE"
        )
    return IoFailed(text)
