"""``python -m worker.produce FILE``: sends operations from lines of JSON, as the application would.

To try the service, or to bring back what was exported. All lines are checked before the first is sent; one that is wrong is
named, and then nothing is sent unless that is asked for. Records have no key, as the application's have none. Each operation
gets an operation id if it lacks one, so that a record that Kafka is given twice (a lost confirmation) takes effect once.

Exit codes: 0 all is sent, 1 it is not (wrong lines, Kafka), 2 wrong usage, settings or file.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, Any, NoReturn

import typer
from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from entities import operations
from worker.kafka_client import connected
from worker.operation_lines import OperationLine, WrongLine, new_operation_id, read_lines, with_operation_id
from worker.settings import FaultySettings, Settings, load_settings

#: The exit codes.
NOT_ALL_SENT, UNUSABLE = 1, 2

#: How many wrong lines are named.
NAMED_LINES = 20

#: How long Kafka may take to tell of the topic (ms), and to confirm what it was sent last (s).
METADATA_TIMEOUT_MS, CONFIRM_TIMEOUT_S = 15_000, 60

#: The largest record, in bytes; the topic's own limit (1 MB, unless it was raised) is for Kafka to say.
LARGEST_RECORD_BYTES = 16_777_216

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass
class Checked:
    """What the lines hold: how many operations of each type and entity, and what is wrong with the others."""

    operations: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[WrongLine] = field(default_factory=list)

    @property
    def count(self) -> int:
        return self.operations.total()


class NotSent(Exception):
    """Kafka did not take what it was given; the text says what and why."""


@app.command()
def produce(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file of JSON lines; - for standard input.")],
    topic: Annotated[str | None, typer.Option(help="Another topic than TOPIC_DB_OPERATIONS.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, help="At most so many operations a second.")] = None,
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Send the others if some are wrong.")] = False,
    new_ids: Annotated[
        bool,
        typer.Option("--new-ids", help="Give each a new operation id: one that was settled is not applied again."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the lines and send nothing.")] = False,
) -> None:
    """Send operations from JSON lines to Kafka, as the application does.

    A line is a message, {"type": …, "entity": …, "data": …, "metadata": …}, or a line of an export, {"raw": "<message>", …}.
    """
    try:
        settings = load_settings()
    except FaultySettings as error:
        _fail("\n".join(["The settings will not do:", *(f"  {fault}" for fault in error.faults)]), UNUSABLE)
    operations.configure(settings.unknown_attributes)
    with _opened(file) as lines:
        checked = check(lines)
        _tell_wrong(checked)
        if checked.wrong and not skip_invalid:
            advice = "" if dry_run else ": nothing was sent (--skip-invalid sends the others)"
            _fail(
                f"{_counted(len(checked.wrong), 'line')} of {checked.count + len(checked.wrong)} wrong{advice}",
                NOT_ALL_SENT,
            )
        if dry_run or not checked.count:
            _tell(checked, "would be sent" if dry_run else "sent: there is nothing in it")
            return
        lines.seek(0)
        began = time.monotonic()
        try:
            with _progress(checked.count) as advance:
                send(lines, settings, topic or settings.topic_db_operations, rate, new_ids, advance)
        except NotSent as error:
            _fail(str(error), NOT_ALL_SENT)
        seconds = time.monotonic() - began
    _tell(
        checked,
        f"sent to {topic or settings.topic_db_operations} in {seconds:.1f} s ({checked.count / seconds:,.0f}/s)",
    )


def check(lines: IO[bytes]) -> Checked:
    """Read all lines, and keep of each no more than is told of it."""
    checked = Checked()
    for line in read_lines(lines):
        if isinstance(line, WrongLine):
            checked.wrong.append(line)
        else:
            checked.operations[line.type, line.entity] += 1
    return checked


def send(
    lines: IO[bytes], settings: Settings, topic: str, rate: float | None, new_ids: bool, advance: Callable[[], None]
) -> None:
    """Send every line that is in form, in order, and wait until Kafka has them all; raises NotSent.

    Parameters:
      rate: Operations a second at most; None for as fast as Kafka takes them.
      advance: Called with each that Kafka has confirmed.
    """
    try:
        producer = connected(
            KafkaProducer,
            settings,
            acks="all",
            retries=10,
            max_in_flight_requests_per_connection=1,  # in order, even if a request is sent again
            linger_ms=5,
            max_request_size=LARGEST_RECORD_BYTES,
            max_block_ms=METADATA_TIMEOUT_MS,
        )
    except (KafkaError, OSError) as error:
        raise NotSent(f"Kafka cannot be reached: {_said(error)}") from None
    unsent = _Unsent()
    try:
        if not _is_there(producer, topic):
            raise NotSent(f"Kafka tells of no topic {topic}; see TOPIC_DB_OPERATIONS and --topic")
        clock = 0
        next_at = time.monotonic()
        for line in read_lines(lines):
            if isinstance(line, WrongLine):
                continue
            if rate is not None:
                time.sleep(max(next_at - time.monotonic(), 0))
                next_at = max(next_at, time.monotonic() - 1) + 1 / rate
            if unsent.first is not None:
                break
            # Where an operation has no time of its own, Kafka's orders it: each a later one, whatever the partition.
            clock = max(time.time_ns() // 1_000_000, clock + 1)
            confirmed = producer.send(
                topic, _message(line, new_ids), timestamp_ms=clock if line.timestamp is None else None
            )
            confirmed.add_callback(lambda _: advance())
            confirmed.add_errback(lambda error, number=line.number: unsent.note(number, error))
        producer.flush(CONFIRM_TIMEOUT_S)
    except (KafkaError, OSError) as error:
        raise NotSent(f"Kafka did not take all: {_said(error)}; the operations before may have been sent") from None
    finally:
        producer.close(timeout=0 if unsent.first is not None else 10)
    if unsent.first is not None:
        raise NotSent(
            f"Kafka did not take line {unsent.first}: {unsent.why}; others may have been sent, before it and behind"
        )


def _is_there(producer: KafkaProducer, topic: str) -> bool:
    try:
        return bool(producer.partitions_for(topic))
    except KafkaTimeoutError:
        return False


class _Unsent:
    """The first line that Kafka refused, and why."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.why = ""

    def note(self, number: int, error: BaseException) -> None:
        if self.first is None or number < self.first:
            self.first, self.why = number, _said(error)


def _message(line: OperationLine, new_ids: bool) -> bytes:
    if line.operation_id is not None and not new_ids:
        return line.message
    return with_operation_id(line.message, new_operation_id())


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


# ------------------------------------------------------------------------------------------------ the file and the screen


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    """The lines, to be read twice; standard input is put aside for that."""
    if file == "-":
        with tempfile.TemporaryFile() as kept:
            shutil.copyfileobj(sys.stdin.buffer, kept)
            kept.seek(0)
            yield kept
        return
    try:
        opened = Path(file).open("rb")  # noqa: SIM115  # the with below closes it; its errors are not those of what runs in it
    except OSError as error:
        _fail(f"{file} cannot be read: {error.strerror}", UNUSABLE)
    with opened:
        yield opened


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on the terminal; nothing where standard error is none."""
    columns: tuple[Any, ...] = (TextColumn("sent"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


def _tell_wrong(checked: Checked) -> None:
    for line in checked.wrong[:NAMED_LINES]:
        errors.print(f"line {line.number}: {_printable(line.reason)}", markup=False)
    if len(checked.wrong) > NAMED_LINES:
        errors.print(f"and {len(checked.wrong) - NAMED_LINES} more")


def _tell(checked: Checked, what_became: str) -> None:
    skipped = f"; {_counted(len(checked.wrong), 'line')} skipped" if checked.wrong else ""
    console.print(f"{_counted(checked.count, 'operation')} {what_became}{skipped}", markup=False)
    for (kind, entity), count in sorted(checked.operations.items()):
        console.print(f"  {count:>8,} {kind} {entity}", markup=False)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _fail(text: str, code: int) -> NoReturn:
    errors.print(text, markup=False)
    raise typer.Exit(code)


if __name__ == "__main__":
    app()
