"""The logs: what operators look for, one line an event, secrets masked by the logger itself.

Every line goes to `combined.log` and the console, errors also to `error.log`. A line is: time (UTC), level, logger,
phrase, and the event's fields as JSON; a traceback is the field `stack`. Several processes append to the same files,
a line with a single write each; the files may be rotated from outside at any time.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
import time
from io import FileIO
from logging.handlers import WatchedFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from worker.redaction import Redactor
from worker.setting_kinds import SILLY
from worker.settings import EXIT_FAULTY_SETTINGS, Settings

#: The phrases that operators' alerts match. They are fixed; fields may follow them.
CONSUMER_CONNECTED = "Kafka Consumer connected"
SUBSCRIBED = "Subscribed to topic: {topic}"
RECEIVED = "Received operation from Kafka"
PROCESSED = "Operation processed successfully"
DATABASE_UNHEALTHY = "Database is now UNHEALTHY"
DATABASE_HEALTHY = "Database is now HEALTHY"
PROCESSING_PENDING = "Processing {count} pending operations"
DEAD_LETTER = "DEAD LETTER QUEUE - Operation failed after all retries"
WORKER_STATUS = "Worker Status"

#: The libraries that say too much, and from which level on they are heard. Peewee's debug lines hold all values.
_LIBRARIES = {
    "dramatiq": logging.INFO,
    "kafka": logging.WARNING,
    "peewee": logging.WARNING,
    "pymysql": logging.WARNING,
    "waitress": logging.INFO,
}

_log = logging.getLogger(__name__)


def log_event(logger: logging.Logger, level: int, phrase: str, /, *, exc_info: Any = None, **fields: Any) -> None:
    """Write one event.

    Parameters:
      phrase: what happened; constant but for what the phrase itself names.
      exc_info: as in `logging`: True for the exception being handled, or an exception. Its traceback
        is the field `stack`.
      fields: what goes with it. Bytes are told by their number, and what JSON does not know by its repr.
    """
    if logger.isEnabledFor(level):
        logger.log(level, "%s", phrase, exc_info=exc_info, extra={"fields": fields}, stacklevel=2)


def configure_logging(settings: Settings) -> None:
    """Send all logging of this process, the libraries' too, to the files and the console.

    What was configured before is replaced: in a worker process the dramatiq command has set up its own lines by then.
    Uncaught exceptions are logged as well, or their tracebacks would reach the console unmasked. If the files cannot be
    opened, the program ends with exit code 2.
    """
    formatter = _LineFormatter(Redactor(settings.secrets))
    folder = Path(settings.log_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        combined = _AppendHandler(folder / "combined.log")
        errors = _AppendHandler(folder / "error.log")
    except OSError as error:
        print(f"LOG_DIR: {folder} cannot be written ({type(error).__name__})", file=sys.stderr)
        raise SystemExit(EXIT_FAULTY_SETTINGS) from None
    errors.setLevel(logging.ERROR)
    # kafka-python tells of every cancelled fetch and refused connection as an error; what matters of it we say ourselves.
    errors.addFilter(lambda record: not record.name.startswith("kafka."))

    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    for ours in (combined, errors, _ConsoleHandler(sys.stderr)):
        ours.setFormatter(formatter)
        root.addHandler(ours)
    root.setLevel(settings.log_level)
    for name, level in _LIBRARIES.items():
        heard_at = logging.DEBUG if name == "dramatiq" and settings.log_level <= SILLY else level
        logging.getLogger(name).setLevel(max(heard_at, settings.log_level))

    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


class _LineFormatter(logging.Formatter):
    """Makes a record one line, and masks it as a whole."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = dict(getattr(record, "fields", {}))
        if record.exc_info and "stack" not in fields:
            fields["stack"] = self.formatException(record.exc_info)
        parts = [_iso(record.created), record.levelname, record.name, record.getMessage()]
        if fields:
            parts.append(json.dumps(fields, ensure_ascii=False, separators=(",", ":"), default=_as_text))
        line = " ".join(parts).replace("\r", "\\r").replace("\n", "\\n")
        return _one_line(self._redact(line))


def _one_line(text: str) -> str:
    """The text with what cannot be printed as JSON's escapes: names come from outside, and neither U+2028 nor a terminal's
    control codes in them may make a second line of this one, or hide it."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


class _QuietErrors(logging.Handler):
    """A handler that cannot write says so in a few words. The standard way prints the record's arguments, unmasked."""

    def handleError(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):  # The console may be gone too.
            print(f"a log line of {record.name} could not be written: {sys.exc_info()[0]}", file=sys.stderr)


class _AppendHandler(_QuietErrors, WatchedFileHandler):
    """Appends each line with one unbuffered write: with O_APPEND, lines of several processes do not mix."""

    stream: Any

    def _open(self) -> Any:
        return FileIO(self.baseFilename, "a")

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + self.terminator
            self.reopenIfNeeded()
            self.stream.write(line.encode("utf-8", "backslashreplace"))
        except Exception:
            self.handleError(record)


class _ConsoleHandler(_QuietErrors, logging.StreamHandler[TextIO]):
    """The console: in a worker process of the dramatiq command, the pipe to its main process."""


def _iso(seconds: float) -> str:
    whole, millis = divmod(int(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{millis:03d}Z"


def _as_text(value: object) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, (bytes, bytearray, memoryview)) else repr(value)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None, thread: str = "main"
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        log_event(_log, logging.CRITICAL, "Uncaught exception", exc_info=(kind, error, traceback), thread=thread)


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and args.exc_type is not SystemExit:
        _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback, args.thread.name if args.thread else "gone")
