"""Keeps a service away from files and processes of the installation that it has no business with. Linux only.

Who holds the token of Spark Connect runs code as the user of the services, and SQL alone reads files
(``text.`file:…```). So the server gets a view of the file system without the others' state, and may not look into other
processes, whose environment holds secrets. Both end with the process, and neither needs a privilege where the system
lets a user make namespaces.
"""

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_SLAVE = 2, 4, 8, 1 << 14, 1 << 19
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
# What lets root look into any process all the same: ptrace, administration, performance counters.
CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON = 19, 21, 38
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446  # the same on every architecture
LANDLOCK_VERSION, LANDLOCK_PATH_BENEATH, LANDLOCK_REFER = 1, 1, 1 << 13


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def confine(hidden: Sequence[Path], kept: Sequence[Path]) -> str | None:
    """Hide the folders ``hidden`` from this process and what it starts, but for the files ``kept`` in them.

    Returns why it could not, in a line: then nothing, or only a part, is hidden. For a process of one thread.
    """
    if sys.platform != "linux":
        return "only Linux can"
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        _hide(libc, hidden, {path: path.read_bytes() for path in kept if path.exists()})
        _leave_others_alone(libc)
    except OSError as error:
        return str(error)
    return None


def _hide(libc: ctypes.CDLL, hidden: Sequence[Path], kept: dict[Path, bytes]) -> None:
    """Mount an empty folder in memory over each of ``hidden``, for this process alone."""
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        os.unshare(os.CLONE_NEWNS)
    else:
        os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNS)
        for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path("/proc/self", name).write_text(line)
    _done(libc.mount(None, b"/", None, MS_REC | MS_SLAVE, None), "/")
    for folder in hidden:
        flags, options = MS_NOSUID | MS_NODEV | MS_NOEXEC, b"mode=700,size=1m"
        _done(libc.mount(b"none", os.fsencode(folder), b"tmpfs", flags, options), folder)
    for path, content in kept.items():
        path.write_bytes(content)
        path.chmod(0o400)


def _leave_others_alone(libc: ctypes.CDLL) -> None:
    """Enter a Landlock domain: no look into processes outside of it, no change of mounts, and nothing else."""
    if libc.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), LANDLOCK_VERSION) < 2:
        raise OSError(ctypes.get_errno(), "this kernel has no Landlock of version 2")
    # Every domain forbids to move files between folders unless it says that it may: everywhere.
    handled = ctypes.c_uint64(LANDLOCK_REFER)
    rules = _done(
        libc.syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(handled), ctypes.c_size_t(8), 0), "Landlock's rules"
    )
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    beneath = _PathBeneath(LANDLOCK_REFER, root)
    _done(libc.syscall(LANDLOCK_ADD_RULE, rules, LANDLOCK_PATH_BENEATH, ctypes.byref(beneath), 0), "Landlock's rule")
    if os.geteuid() == 0:
        for capability in (CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON):
            _done(libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "capabilities")
    _done(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    _done(libc.syscall(LANDLOCK_RESTRICT_SELF, rules, 0), "Landlock")
    os.close(root)
    os.close(rules)


def _done(result: int, what: object) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(what))
    return result
