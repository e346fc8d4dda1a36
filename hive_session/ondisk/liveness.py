"""Whether a run is alive: the kernel says so, by the flock on its run.lock; and which start of the machine this is."""

import fcntl
import os


def run_is_alive(run_lock: str) -> bool:
    """True while anything of the run holds `run_lock`; the probe takes it shared for microseconds. No such file: False.

    SIGKILL, reboot and pid reuse cannot make it lie: the kernel drops the lock with the last holder.
    """
    try:
        fd = os.open(run_lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def run_is_over(run_lock: str) -> bool:
    """True where nothing of the run holds `run_lock`; False too where that cannot be told by now, for want of a descriptor."""
    try:
        return not run_is_alive(run_lock)
    except OSError:
        return False


def wait_for_end(run_lock: str) -> None:
    """Block, without polling, until no run holds `run_lock`."""
    try:
        fd = os.open(run_lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def boot_identity() -> str:
    """Names this start of the machine or container: the kernel's boot id alone does not change when a container restarts.

    Joined from boot_id, the start time of process 1 and the pid namespace; parts that cannot be read are empty.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        boot = ""
    try:
        with open("/proc/1/stat", "rb") as file:
            raw = file.read()
        started = raw[raw.rfind(b")") + 2 :].split()[19].decode()
    except (OSError, IndexError):
        started = ""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{boot}/{started}/{namespace}"
