"""The actors' numbers: Dramatiq's own Prometheus middleware, on an address and in a folder that we choose.

Off unless ACTORS_METRICS_PORT says a port. As it comes, the middleware listens on all addresses, and all dramatiq commands of
a host share one port and one folder whose name anybody can guess. What operators need of the actors ingest tells already
(applied, retried, dead, living workers); this adds how long each actor takes and how much it does.

The worker processes count into files of one folder, the folder of their main process; a process of its own, which dramatiq
starts after them, adds the files up and serves them.
"""

# Dramatiq's own functions have no types.
# mypy: allow-untyped-calls

from __future__ import annotations

import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dramatiq.middleware.prometheus
from dramatiq.middleware import Prometheus

from worker.logs import configure_logging, log_event
from worker.settings import settings_or_exit

# prometheus_client is imported where it is used: what its counters count into is decided when it is first imported, and has
# to be the folder.

#: Followed by the pid of dramatiq's main process.
FOLDER_PREFIX = "outbox-actors-"

#: How often (s) the serving process looks whether its main process still lives: killed, it leaves its children behind.
PARENT_CHECK_S = 1.0

_log = logging.getLogger(__name__)


class ActorMetrics(Prometheus):
    """Counts the messages of each actor, and how long they take."""

    @property
    def forks(self) -> list[Callable[[], int]]:
        return [serve_actor_metrics]

    def after_process_boot(self, broker: dramatiq.Broker) -> None:
        """In each worker process, before it takes a message."""
        # The only way in: the middleware reads this constant here and when a worker ends.
        dramatiq.middleware.prometheus.DB_PATH = str(own_folder(os.getppid()))
        super().after_process_boot(broker)


def count_messages(broker: dramatiq.Broker) -> None:
    """Have the broker's worker processes count, and dramatiq start the process that serves what they counted."""
    broker.add_middleware(ActorMetrics())


def own_folder(main_pid: int) -> Path:
    """The folder of the dramatiq command with this pid, made if it is not there.

    Raises:
      PermissionError: somebody else has made it.
    """
    folder = _folder(main_pid)
    folder.mkdir(mode=0o700, exist_ok=True)
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder


def sweep(main_pid: int) -> None:
    """Remove what dramatiq commands left that live no more, and what processes left that had this one's pid before it.

    A command that ends leaves its folder: its workers count to their end. So there is never more than the last one's.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        pid = folder.name.removeprefix(FOLDER_PREFIX)
        if pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)  # of another user: stays
    for file in own_folder(main_pid).glob("*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not _is_alive(int(pid)):
            file.unlink(missing_ok=True)


def serve_actor_metrics() -> int:
    """The life of the serving process, until SIGTERM or until its main process is gone. Dramatiq calls it by its name."""
    from worker.metrics_server import tell_address_taken
    from worker.page_server import PageServer

    settings = settings_or_exit()
    configure_logging(settings)
    main_pid = os.getppid()
    sweep(main_pid)
    folder = own_folder(main_pid)
    host, port = settings.metrics_host, settings.actors_metrics_port
    try:
        server = PageServer(host, port, {"/metrics": lambda accept: _page(folder, accept)})
    except OSError as error:
        tell_address_taken("The actors", "ACTORS_METRICS_PORT", host, port, error)
        return 0
    server.start()
    log_event(_log, logging.INFO, "The actors' metrics are served", url=f"http://{host}:{port}/metrics")
    while os.getppid() == main_pid:
        time.sleep(PARENT_CHECK_S)
    return 0


def _page(folder: Path, accept: str) -> Any:
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    from worker.metrics_page import encoded

    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    return encoded(registry, accept)


def _folder(main_pid: int) -> Path:
    return Path(tempfile.gettempdir()) / f"{FOLDER_PREFIX}{main_pid}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
