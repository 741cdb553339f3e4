"""What the measuring programs share: their options, the servers, progress, and the report at the end."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from tests.bench.ground import Ground
from tests.bench.picture import draw
from tests.bench.report import as_json, number, print_tables, unit_of
from tests.faults.soak_table import machine_description
from tests.faults.soaking import Servers


class Bench:
    """The ground, the options, and the values measured so far.

    :ivar scale: streams and times are so much as long as they are for real.
    """

    def __init__(self, ground: Ground, scale: float = 1.0, repeats: int = 3) -> None:
        self.ground = ground
        self.scale = scale
        self.repeats = repeats
        self.measured: defaultdict[str, list[float]] = defaultdict(list)
        self._console = Console(highlight=False)
        self._began = time.monotonic()

    def tell(self, text: str) -> None:
        """A line of progress, with the time since the start."""
        self._console.print(f"[dim]{time.monotonic() - self._began:6.1f} s[/dim]  {text}")

    def note(self, name: str, value: float) -> None:
        """Keep a value, and tell it."""
        self.measured[name].append(value)
        self.tell(f"{len(self.measured[name])}/{self.repeats}  {name}: {number(value)} {unit_of(name)}")

    def seconds(self, seconds: float) -> float:
        """A time at this scale, a second at least."""
        return max(1.0, seconds * self.scale)


def run(
    description: str | None,
    measure: Callable[[Bench, argparse.Namespace], None],
    *options: str,
    add_options: Callable[[argparse.ArgumentParser], None] = lambda _: None,
) -> int:
    """A measuring program: read the command line, start the servers, measure, report. The exit code.

    :param options: options of its own, each a number and "name=default=help".
    :param add_options: adds those that are no numbers.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="how long streams and times are (default 1)")
    parser.add_argument("--repeats", type=int, default=3, help="how often each is measured, in turns (default 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured there")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the rates there")
    for option in options:
        name, default, told = option.split("=", 2)
        parser.add_argument(f"--{name}", type=float, default=float(default), help=f"{told} (default {default})")
    add_options(parser)
    chosen = parser.parse_args()
    logging.getLogger("kafka").setLevel(logging.CRITICAL)

    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    servers = Servers(folder)
    began = time.monotonic()
    with servers.running():
        bench = Bench(Ground(folder, servers.kafka, servers.mariadb, servers.redis), chosen.scale, chosen.repeats)
        about: dict[str, object] = {
            "machine": machine_description(servers.versions()),
            "load_before": os.getloadavg()[0],
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["python", "-m", _module(), *sys.argv[1:]]),
            "scale": chosen.scale,
            "repeats": chosen.repeats,
        }
        try:
            measure(bench, chosen)
        except AssertionError:
            print(f"the programs' files are in {folder}", file=sys.stderr)
            raise
        except KeyboardInterrupt:
            bench.tell("interrupted: the table is of what was measured so far")
    shutil.rmtree(folder)
    about["took_s"] = round(time.monotonic() - began, 1)
    print_tables(Console(highlight=False), bench.measured)
    if chosen.json:
        chosen.json.write_text(as_json(bench.measured, about))
    if chosen.svg:
        chosen.svg.write_text(draw(bench.measured))
    return 0


def _module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None else Path(sys.argv[0]).stem
