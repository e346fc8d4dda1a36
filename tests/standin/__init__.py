"""A local stand-in for the Messages API, so that the real Claude Code runs with no network and no key."""
