"""All checks of the doctor, in the order in which they are told."""

from collections.abc import Iterator

from hive_session.doctor import machine, sessions
from hive_session.doctor.finding import Finding, Patient
from hive_session.errors import BadConfig

CHECKS = (
    machine.directories,
    machine.locks,
    sessions.holders,
    sessions.shared_database,
    sessions.database_links,
    sessions.foreign_files,
    sessions.strays,
    sessions.orphaned,
    machine.zombies,
    sessions.records,
    sessions.index,
    sessions.halves,
    machine.programs,
    machine.supervision,
    machine.room,
    machine.log_filesystem,
    sessions.database_health,
)


def examine(patient: Patient) -> Iterator[Finding]:
    """All findings of all checks."""
    for check in CHECKS:
        try:
            yield from check(patient)
        except BadConfig as exc:
            yield Finding(check=check.__name__, level="problem", what=exc.what, mend=exc.hint or "correct it")
        except OSError as exc:
            yield Finding(
                check=check.__name__,
                level="problem",
                what=f"cannot be checked: {exc}",
                mend="run as the user who owns the workspace",
            )
