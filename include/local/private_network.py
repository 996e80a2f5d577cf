"""A network of its own for a process that asks nobody for a token. Standard library only, since set-up tries it.

``python -m include.local.private_network`` ends with 0 where this system gives one, and with 1 and the reason else.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1


class NoPrivateNetworkError(Exception):
    """The system does not let this process have a network of its own."""


def enter_private_network() -> None:
    """Move this process, and what it starts, to a network with nothing but its own loopback. For one thread.

    Sockets that are open already stay where they are. Raises NoPrivateNetworkError.
    """
    user, group = os.geteuid(), os.getegid()
    try:
        os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNET)
        for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path("/proc/self", name).write_text(line)
        with socket.socket() as one:
            fcntl.ioctl(one, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
    except (AttributeError, OSError) as error:  # elsewhere than on Linux the os module has none of it
        raise NoPrivateNetworkError(str(error)) from error


def refusal() -> str:
    """Why this system gives a process no network of its own; empty where it does. Tried in a process of its own."""
    home = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "include.local.private_network"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)  # noqa: S603  # this module
    return done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""


if __name__ == "__main__":
    try:
        enter_private_network()
    except NoPrivateNetworkError as refused:
        sys.exit(str(refused))
