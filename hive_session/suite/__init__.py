"""The suite under supervisord: what it is told, whether its files are right, starting, stopping and asking it."""
