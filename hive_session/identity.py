"""Who acts: root becomes HIVE_USER before it touches a session, so that records and logs have one owner whoever calls."""

import os
import pwd
from collections.abc import Iterable, MutableMapping

from hive_session.errors import BadConfig
from hive_session.home import DEFAULT_USER
from hive_session.ondisk.layout import Layout


def target_user(configured: str | None) -> pwd.struct_passwd | None:
    """The user that root becomes; None when root stays root. Raises: BadConfig when HIVE_USER names nobody."""
    name = configured or DEFAULT_USER
    try:
        return pwd.getpwnam(name)
    except KeyError:
        if configured:
            raise BadConfig(f"HIVE_USER: there is no user {configured!r}", f"useradd -m {configured}") from None
        return None


def become(user: pwd.struct_passwd, layout: Layout, session_id: str | None, env: MutableMapping[str, str]) -> None:
    """Hand what the caller is about to use to `user`, then be that user for good.

    Only roots, the index, the locks and the one addressed session are looked at, never the whole tree: the original's
    `chown -R` on every call is what made it slow (facts/original.md D20).
    """
    for path in _shared(layout):
        os.makedirs(path, exist_ok=True)
    for path in [*_shared(layout), *_files(layout, session_id)]:
        _hand_over(path, user)
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    env.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)


def _shared(layout: Layout) -> list[str]:
    return [layout.workspace, layout.swarm, layout.sessions, layout.output_root, layout.log_dir]


def _files(layout: Layout, session_id: str | None) -> Iterable[str]:
    yield from (layout.index, layout.index_lock, layout.audit, layout.trash, layout.slots)
    if session_id is not None:
        paths = layout.session(session_id)
        yield from (paths.dir, paths.output, paths.log, paths.database, paths.at(".swarm"))
        yield from (entry.path for entry in _entries(paths.dir))


def _entries(directory: str) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(directory) as found:
            return [entry for entry in found if not entry.is_symlink()]
    except OSError:
        return []


def _hand_over(path: str, user: pwd.struct_passwd) -> None:
    try:
        if os.lstat(path).st_uid == 0:
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    except FileNotFoundError:
        pass
