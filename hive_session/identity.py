"""Who acts: root becomes HIVE_USER before it touches a session, so that records and logs have one owner whoever calls.

Everything below the workspace belongs to that user, who may put links there. So root hands files over by walking down from a
path that the administrator chose, component by component, and never through a link.
"""

import os
import pwd
import stat
from collections.abc import Iterable, Iterator, MutableMapping

from hive_session.errors import BadConfig
from hive_session.ondisk.home import DEFAULT_USER
from hive_session.ondisk.layout import Layout

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
ANYTHING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def target_user(configured: str | None) -> pwd.struct_passwd | None:
    """The user that root becomes; None when root stays root. Raises: BadConfig when HIVE_USER names nobody."""
    name = configured or DEFAULT_USER
    try:
        return pwd.getpwnam(name)
    except KeyError:
        if configured:
            raise BadConfig(f"HIVE_USER: there is no user {configured!r}", f"useradd -m {configured}") from None
        return None


def become(user: pwd.struct_passwd, layout: Layout, sessions: Iterable[str], env: MutableMapping[str, str]) -> None:
    """Hand what the caller is about to use to `user`, then be that user for good. Raises: OSError.

    Only the shared directories, the index, the locks and the addressed sessions are looked at, never the whole tree: the
    original's `chown -R` on every call is what made it slow (facts/original.md D20).
    """
    for directory in (layout.sessions, layout.output_root, layout.log_dir):
        os.close(_reach(layout, directory, user))
    for directory, names in _files(layout, sessions):
        _hand_over_files(layout, directory, names, user)
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    env.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)


def _files(layout: Layout, sessions: Iterable[str]) -> Iterator[tuple[str, list[str] | None]]:
    """(directory, names in it to hand over; None: all of them)"""
    yield layout.swarm, ["audit.jsonl", "trash", "slots"]
    yield layout.sessions, ["index.json", ".lock"]
    for session_id in sessions:
        paths = layout.session(session_id)
        yield layout.sessions, [session_id]
        yield paths.dir, None
        yield os.path.dirname(paths.database), None
        yield layout.output_root, [session_id]
        yield layout.log_dir, [os.path.basename(paths.log)]


def _reach(layout: Layout, directory: str, user: pwd.struct_passwd) -> int:
    """A descriptor of `directory`, made where it is missing; each step below the chosen path is handed to `user`."""
    inside = directory.startswith(f"{layout.workspace}/")
    chosen = layout.workspace if inside else directory
    os.makedirs(chosen, exist_ok=True)
    fd = os.open(chosen, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _give(fd, user)
    for name in directory[len(chosen) :].split("/") if inside else ():
        if name:
            fd = _step(fd, name, user)
    return fd


def _step(above: int, name: str, user: pwd.struct_passwd) -> int:
    try:
        try:
            os.mkdir(name, 0o755, dir_fd=above)
        except FileExistsError:
            pass
        fd = os.open(name, DIRECTORY, dir_fd=above)
    finally:
        os.close(above)
    _give(fd, user)
    return fd


def _hand_over_files(layout: Layout, directory: str, names: list[str] | None, user: pwd.struct_passwd) -> None:
    if names is None and not os.path.isdir(directory):
        return
    fd = _reach(layout, directory, user)
    try:
        for name in os.listdir(fd) if names is None else names:
            try:
                file = os.open(name, ANYTHING, dir_fd=fd)
            except OSError:  # missing, a link, a socket: nothing of ours
                continue
            try:
                _give(file, user)
            finally:
                os.close(file)
    finally:
        os.close(fd)


def _give(fd: int, user: pwd.struct_passwd) -> None:
    """Hand an open file or directory of root's to `user`; a file with a second name is left alone: it may be a system file."""
    info = os.fstat(fd)
    single = stat.S_ISDIR(info.st_mode) or info.st_nlink == 1
    if info.st_uid == 0 and single:
        os.fchown(fd, user.pw_uid, user.pw_gid)
