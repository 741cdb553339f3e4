"""One ingest an outbox."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from outbox.lock import OutboxInUse, hold_alone


def test_a_second_ingest_on_the_same_outbox_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    descriptor = hold_alone(path)

    with pytest.raises(OutboxInUse, match="OUTBOX_PATH"):
        hold_alone(path)

    os.close(descriptor)


def test_the_same_outbox_by_another_name_is_refused_too(tmp_path: Path) -> None:
    path, link = tmp_path / "outbox.sqlite3", tmp_path / "link.sqlite3"
    path.touch()
    link.symlink_to(path)
    descriptor = hold_alone(path)

    with pytest.raises(OutboxInUse):
        hold_alone(link)

    os.close(descriptor)


def test_the_claim_goes_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    claim = f"import os; from outbox.lock import hold_alone; hold_alone({str(path)!r}); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", claim], check=False)

    os.close(hold_alone(path))
