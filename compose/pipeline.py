"""`compose/up`: the whole pipeline on embedded servers, a stream of operations through it, and what becomes of them, live.

The servers and the three programs run behind the scenes (backstage.py, supervisor.py, embedded.py). A run (run.py) plays the
application (sender.py, stream.py), shows what the outbox holds (live.py), and at the end compares all with a model of what
must be there (audit.py, world.py, summary.py). Here are the command line, and how it starts and stops.
"""

from __future__ import annotations

import argparse
import fcntl
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import peewee
import redis
from rich.console import Console

from compose.backstage import Backstage
from compose.embedded import DATABASE, KAFKA, REDIS, ServerFailed
from compose.run import EXIT_WRONG, ROOT, Run

#: How wide (in characters) tables are where the output is no terminal.
PLAIN_WIDTH = 140

#: The exit code of a run with --exit that was interrupted.
EXIT_INTERRUPTED = 130


def main() -> int:
    """Run it; the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):  # compose/up has SIGINT ignored until here
        signal.signal(number, signal.default_int_handler)
    arguments = _arguments()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    try:
        with locked(_folder(arguments)) as folder:
            console.print(f"state, logs and programs' output: {folder}", markup=False, soft_wrap=True)
            port = arguments.port if arguments.port is not None else free_port(8080)
            with Backstage(folder, port, arguments.create_tables, lambda part: print(f"stopping {part}")) as backstage:
                try:
                    return Run(arguments, folder, backstage, console).run()
                finally:
                    for number in (signal.SIGINT, signal.SIGTERM):  # it is stopping already
                        signal.signal(number, signal.SIG_IGN)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED if arguments.exit else 0
    except (ServerFailed, peewee.PeeweeException, redis.RedisError) as error:
        print(f"compose/up: {error}", file=sys.stderr)
        return EXIT_WRONG


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="compose/up",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Runs the whole pipeline and sends a stream of realistic operations through it, some bad ones among them.\n"
            "Whatever server the environment does not name is embedded: Kafka, Redis, the database."
        ),
        epilog=(
            "A server is named by any of these variables, in the environment (a .env file is not read):\n"
            f"  Kafka     {', '.join(KAFKA.names)}\n"
            f"  Redis     {', '.join(REDIS.names)} (with them {', '.join(REDIS.others)})\n"
            f"  database  {', '.join(DATABASE.names)} (with them {', '.join(DATABASE.others)})\n"
            "All other variables of the service hold too (python -m worker.ingest --help).\n\n"
            "exit code: 0 if all was settled as it should be, 1 if not, 130 if a run with --exit was interrupted"
        ),
    )
    add = parser.add_argument
    add(
        "--ops", type=_positive, default=2_000, metavar="N", help="operations to send [2000]; then a few a second go on"
    )
    add(
        "--rate",
        type=float,
        default=500,
        metavar="R",
        help="operations a second [500]; 0 = as fast as Kafka takes them",
    )
    add("--exit", action="store_true", help="end by itself when all is settled: compare everything, print a summary")
    add("--folder", type=Path, help="for all state [var/embedded, kept; with --exit a new one below var/]")
    add("--port", type=int, help="the dashboard's [8080, or a free one if that is taken]")
    add("--seed", type=int, help="the same seed sends the same operations; a folder should not get one twice")
    add("--create-tables", action="store_true", help="make the application's tables in a database that was named")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _folder(arguments: argparse.Namespace) -> Path:
    if arguments.folder is not None:
        return Path(arguments.folder).resolve()
    return ROOT / "var" / (f"run-{datetime.now():%Y%m%d-%H%M%S}" if arguments.exit else "embedded")


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """The folder, made if need be, and nobody else's meanwhile; raises `ServerFailed` if it is somebody's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerFailed(f"another compose/up runs in {folder}; name another folder: --folder") from None
        yield folder


def free_port(wanted: int) -> int:
    """The wanted port of the loopback interface, or another one if it is taken."""
    for port in (wanted, 0):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(tried.getsockname()[1])
    raise ServerFailed("no port is free on the loopback interface")


if __name__ == "__main__":
    sys.exit(main())
