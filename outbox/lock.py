"""One ingest an outbox: a second one on the same file would make a second order. The desk needs no lock."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class OutboxInUse(Exception):
    """Another ingest has this outbox open."""


def hold_alone(path: str | Path) -> int:
    """Claim the outbox for this process, until it ends or closes the file descriptor that is returned.

    The lock is the kernel's: it goes with its process, however that ends, so nothing is ever left to clean up.

    :raises OutboxInUse: another process has claimed it.
    """
    lock_path = Path(f"{Path(path).resolve()}.lock")  # one file by two names is one outbox
    lock_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(lock_path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OutboxInUse(f"another ingest has the outbox {path} open; give each its own OUTBOX_PATH") from None
    return descriptor
