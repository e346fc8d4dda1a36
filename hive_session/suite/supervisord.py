"""supervisord as the suite runs it, `python -P -m hive_session.suite.supervisord`.

It speaks no TLS, and needs none in memory. And a log that cannot be written does not end it.
"""

from hive_session.ondisk.lean import leave_out_tls


def main() -> None:
    """supervisord; it ends the program."""
    leave_out_tls()
    from supervisor import loggers  # type: ignore[import-untyped]  # supervisor has no types
    from supervisor.supervisord import main as supervise  # type: ignore[import-untyped]

    loggers.Handler.handleError = _pass_over
    supervise()


def _pass_over(handler: object) -> None:
    """A full disk: supervisord would tell it to its stderr, and where that is a file on the same disk, end."""


if __name__ == "__main__":
    main()
