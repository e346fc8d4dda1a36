"""cleanup, vacuum, reconcile, reindex, doctor."""

import typer


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
