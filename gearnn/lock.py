"""One process per run folder."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

from gearnn.engine.files import make_folder
from gearnn.errors import UserError

NAME = "run.lock"
_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other process off a run folder, which is made if need be, and is removed again if it stays empty.

    The lock is flock(2) on a file in the folder, which the system lets go when the process ends, however it ends: one that was
    left behind keeps nobody off. The file says who holds it, as JSON: pid, host, and the time the lock was taken. Where the
    file system or the platform has no flock, the file's existence is the lock, and it is stale if it was made on this host by a
    process that is no more.

    Raises:
        UserError: if another process holds the lock, or the folder cannot be written to.
    """
    path = folder / NAME
    try:
        made = make_folder(folder)
        handle = _take(path)
    except OSError as error:
        raise UserError(f"cannot work in {folder} ({error.strerror or error}): choose another --out") from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is still ours
        os.close(handle)
        for place in made:
            with suppress(OSError):
                place.rmdir()  # only where it is empty


def at_work(folder: Path) -> Optional[Dict[str, Any]]:
    """Who works in a run folder, as the lock is signed (pid, host, since); None if nobody does.

    The lock itself is left alone: taking it for a moment could turn away a run that begins in that moment. Whether a process on
    another host still lives cannot be seen from here.
    """
    holder = _holder(folder / NAME)
    return None if holder is None or _ended(holder) else holder


def _take(path: Path) -> int:
    while True:
        handle = os.open(str(path), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            held = _flock(handle)
            if held is None:
                os.close(handle)
                return _create(path)
            if not held:
                raise _taken(path)
            if _same_file(path, handle):  # else the one who held it has just removed it
                _sign(handle)
                return handle
        except BaseException:
            with suppress(OSError):
                os.close(handle)
            raise
        os.close(handle)


def _flock(handle: int) -> Optional[bool]:
    """Whether the lock is ours now; None where there are no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        raise
    return True


def _create(path: Path) -> int:
    """The lock where there is no flock: a file that only one process can make."""
    holder = _holder(path)
    if holder is None or _ended(holder):
        with suppress(FileNotFoundError):
            path.unlink()
    try:
        handle = os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise _taken(path) from None
    _sign(handle)
    return handle


def _sign(handle: int) -> None:
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps({**holder, "started": _started(os.getpid())}).encode() + b"\n", 0)


def _taken(path: Path) -> UserError:
    holder = _holder(path)
    who = f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')}" if holder else "another process"
    return UserError(
        f"{path.parent} is in use ({who}): wait until that has ended or choose another --out; if it is certain that none is at "
        f"work there, delete {path}"
    )


def _holder(path: Path) -> Optional[Dict[str, Any]]:
    """Who signed the lock; None if nobody legible did."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _ended(holder: Dict[str, Any]) -> bool:
    """Whether the holder is known to be no more: of another host nothing is known."""
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # no system has numbers that large
        return True
    except OSError:
        return False
    return pid == os.getpid() or _started(pid) != holder.get("started")  # numbers of processes are used again


def _started(pid: int) -> Optional[str]:
    """When a process began, in the system's own ticks; None where /proc does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()[19]


def _same_file(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
