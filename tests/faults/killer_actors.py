"""The actors and the ingest of a service in which one operation type kills whoever applies it.

`KILL` stands for whatever ends a worker each time it meets one operation: a bug of a driver, memory that runs out. It is in
form, so that only applying it does harm. Run as `dramatiq tests.faults.killer_actors`, and `python -m tests.faults.killer_actors`
for ingest, which must know the type too.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from entities.base import Entity
from entities.operations import RowAction, operation_type, update
from worker import ingest

IS_INGEST = __name__ == "__main__"

#: In the programs' working folder: a character for each death.
DEATHS = Path("deaths")


@operation_type("KILL")
def kill(entity: type[Entity], data: dict[str, Any]) -> Sequence[RowAction]:
    """An UPDATE for ingest, which plans it; death for a worker, which applies it."""
    if not IS_INGEST:
        with DEATHS.open("a") as deaths:
            deaths.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return (update(entity, data),)


if IS_INGEST:
    sys.argv[0] = ingest.__file__
    ingest.main()
else:
    from worker import applier

    applier.DEATHS_OF_A_BATCH = 1  # each death is a restart of the actors: few of them make the point
    from worker.actors import broker  # noqa: F401  # the dramatiq command looks for it
