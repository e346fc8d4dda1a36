"""The typer shell of hive-session: one file a group of commands, each a thin skin over a function of the package."""
