"""One gateway a journal: `<journal path>.lock`, held by flock as long as the process lives.

The file also tells commands where the gateway listens and how they may talk to it. Its content
counts only while somebody holds it: the kernel lets go when a process dies, the content stays.
It is never removed, because a lock on a removed file guards nothing.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gateway.errors import JournalLocked, JournalUnavailable

#: A command that asks who holds the lock takes it for a few microseconds; a gateway that starts in
#: that instant looks again this often, 20 ms apart.
TRIES = 5


@dataclass(frozen=True, slots=True)
class LockInfo:
    """Who holds a journal. Without `url` it does not listen yet."""

    pid: int  #: 0: unknown
    url: str | None = None
    token: str | None = field(default=None, repr=False)  #: has every scope; new at each start
    certificate: str | None = None  #: sha256 of the one it shows, hex; None: it speaks plain HTTP


class Lock:
    """The lock as held by this process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, *, url: str, token: str, certificate: str | None = None) -> None:
        """Tell commands where this gateway listens, and by which certificate they know it."""
        self._write(LockInfo(pid=os.getpid(), url=url, token=token, certificate=certificate))

    def _write(self, info: LockInfo) -> None:
        content = json.dumps(asdict(info)).encode()
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))


def lock_path(journal: Path) -> Path:
    """Where the lock of the journal at *journal* is."""
    return journal.with_name(journal.name + ".lock")


@contextmanager
def hold_lock(journal: Path) -> Iterator[Lock]:
    """Hold the journal at *journal* for this process alone.

    Raises: JournalLocked, when another process holds it; JournalUnavailable, when it has no place
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(lock_path(journal), flags, 0o600)
    except OSError as error:
        raise JournalUnavailable(f"{journal} cannot be locked: {error}") from error
    try:
        if not _try_lock(descriptor):
            pid = _read(descriptor).pid
            holder = f"process {pid}" if pid else "another process"
            raise JournalLocked(f"{journal} is in use by {holder}")
        os.fchmod(descriptor, 0o600)
        lock = Lock(descriptor)
        lock._write(LockInfo(pid=os.getpid()))
        yield lock
    finally:
        os.close(descriptor)


def read_lock(journal: Path) -> LockInfo | None:
    """Who holds the journal at *journal*; None when nobody does.

    Raises: PermissionError, when that may not be read
    """
    try:
        descriptor = os.open(lock_path(journal), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    else:
        return None
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    for attempt in range(TRIES):
        if attempt:
            time.sleep(0.02)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False


def _read(descriptor: int) -> LockInfo:
    try:
        return LockInfo(**json.loads(os.pread(descriptor, 65_536, 0)))
    except (ValueError, TypeError):  # being written, or not by us
        return LockInfo(pid=0)
