"""A small disk that a test can fill and empty: a tmpfs, mounted by root."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

#: What is written at a time while filling up: first much, then to the last block.
CHUNKS = (1_000_000, 4_096, 512)


class NoSmallDisk(Exception):
    """It cannot be had here; the text says why."""


class SmallDisk:
    """A file system of its own at `folder`.

    :param megabytes: its size.
    :raises NoSmallDisk: if none can be mounted.
    """

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"
        folder.mkdir()
        options = f"size={megabytes}m,mode=0755"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            result = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            raise NoSmallDisk("there is no `mount` here, and so no small disk") from None
        if result.returncode != 0:
            raise NoSmallDisk(f"mounting a tmpfs is not permitted here: {result.stderr.strip()}")

    def fill(self) -> None:
        """Leave no room at all."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in CHUNKS:
                try:
                    while ballast.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue
        assert self.free() == 0

    def free(self) -> int:
        """The bytes that are free."""
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize

    def make_room(self) -> None:
        """Take away what filled it."""
        self._ballast.unlink()

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
