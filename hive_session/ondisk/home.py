"""Whose home directory counts: that of the user who will act, which for root is HIVE_USER. Cheap to import."""

import os
import pwd

TYPE_CHECKING = False  # collections.abc is left out: it would add a seventh to the time that `status` takes
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_USER = "dev"  # root acts as this user where it exists


def acting_home(env: "Mapping[str, str]") -> str:
    """The home directory under which the default workspace lies."""
    if os.geteuid() == 0:
        try:
            return pwd.getpwnam(env.get("HIVE_USER") or DEFAULT_USER).pw_dir
        except KeyError:
            pass
    return env.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir
