"""Who acts, and whose home directory counts: for root that of HIVE_USER. Cheap to import."""

import os
import pwd

TYPE_CHECKING = False  # collections.abc is left out: it would add a seventh to the time that `status` takes
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_USER = "dev"  # root acts as this user where it exists


def acting_user(env: "Mapping[str, str]") -> pwd.struct_passwd | None:
    """The user that root becomes; None for anybody else, and where there is no such user."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(env.get("HIVE_USER") or DEFAULT_USER)
    except KeyError:
        return None


def acting_home(env: "Mapping[str, str]") -> str:
    """The home directory under which the default workspace lies."""
    user = acting_user(env)
    return user.pw_dir if user else env.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir
