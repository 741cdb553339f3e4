from __future__ import annotations

import json
import logging
import multiprocessing
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.logs import PROCESSING_PENDING, SUBSCRIBED, WORKER_STATUS, configure_logging, log_event
from worker.settings import Settings, load_settings

LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([A-Z]+) (\S+) (.*)")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.handlers[:], root.level, sys.excepthook, threading.excepthook = before
    logging.captureWarnings(False)
    for name in ("dramatiq", "kafka", "peewee", "pymysql", "waitress"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def settings_for(folder: Path, **environ: str) -> Settings:
    return load_settings({"LOG_DIR": str(folder), **environ}, Path("/nowhere/.env"))


def combined(folder: Path) -> str:
    return (folder / "combined.log").read_text()


def errors(folder: Path) -> str:
    return (folder / "error.log").read_text()


def test_a_name_from_outside_cannot_make_a_second_line_or_steer_a_terminal(tmp_path: Path) -> None:
    configure_logging(settings_for(tmp_path))
    hostile = "a\x85b\u2028c\x9b31md\u202ee\x7f"

    log_event(logging.getLogger("worker.ingest"), logging.INFO, "Received", operation=hostile)

    (line,) = combined(tmp_path).splitlines()
    assert line.isprintable()
    assert json.loads(line[line.index("{") :]) == {"operation": hostile}


def test_an_event_is_one_line_with_time_level_logger_phrase_and_fields(tmp_path: Path) -> None:
    configure_logging(settings_for(tmp_path))

    log_event(logging.getLogger("worker.ingest"), logging.INFO, SUBSCRIBED.format(topic="ops"), partitions=3, level="x")

    match = LINE.fullmatch(combined(tmp_path).rstrip("\n"))
    assert match is not None
    assert match.groups()[1:3] == ("INFO", "worker.ingest")
    assert match.group(4) == 'Subscribed to topic: ops {"partitions":3,"level":"x"}'


def test_everything_is_in_combined_and_errors_are_in_error_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(settings_for(tmp_path))
    logger = logging.getLogger("worker.x")

    log_event(logger, logging.INFO, WORKER_STATUS)
    log_event(logger, logging.ERROR, "broken")

    assert WORKER_STATUS in combined(tmp_path)
    assert "broken" in combined(tmp_path)
    assert WORKER_STATUS not in errors(tmp_path)
    assert "broken" in errors(tmp_path)
    assert capsys.readouterr().err == combined(tmp_path)


def test_a_traceback_is_a_field_of_the_same_line(tmp_path: Path) -> None:
    configure_logging(settings_for(tmp_path))

    try:
        raise ValueError("first\nsecond")
    except ValueError:
        log_event(logging.getLogger("worker.x"), logging.ERROR, "failed", exc_info=True, attempt=1)

    (line,) = errors(tmp_path).splitlines()
    fields = json.loads(line[line.index("{") :])
    assert fields["attempt"] == 1
    assert fields["stack"].endswith("ValueError: first\nsecond")


def test_a_librarys_line_with_line_breaks_stays_one_line(tmp_path: Path) -> None:
    configure_logging(settings_for(tmp_path))

    logging.getLogger("some.library").warning("a\nb\r\n%s", "c")

    assert combined(tmp_path).count("\n") == 1


def test_secrets_are_masked_in_messages_fields_arguments_and_tracebacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(settings_for(tmp_path, DB_PASSWORD="dbsecret", REDIS_PASSWORD="redissecret"))
    logger = logging.getLogger("worker.x")

    logger.warning("cannot connect with %s", {"password": "any"})
    log_event(logger, logging.INFO, "row", row={"passwordHash": "any"}, raw=b'{"passwordHash": "any"}')
    try:
        raise ConnectionError("redis://:redissecret@host refused; dbsecret")
    except ConnectionError:
        logger.exception("down")

    written = combined(tmp_path) + errors(tmp_path) + capsys.readouterr().err
    assert not [secret for secret in ("any", "redissecret", "dbsecret") if secret in written.replace("raise", "")]


def test_uncaught_exceptions_and_warnings_are_logged_and_masked(tmp_path: Path) -> None:
    configure_logging(settings_for(tmp_path, DB_PASSWORD="dbsecret"))

    error = RuntimeError("dbsecret")
    sys.excepthook(RuntimeError, error, None)
    thread = threading.Thread(target=lambda: 1 / 0, name="divider")
    thread.start()
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)

    assert "RuntimeError: ***" in errors(tmp_path)
    assert "ZeroDivisionError" in errors(tmp_path)
    assert "divider" in errors(tmp_path)
    assert "old" in combined(tmp_path)


def test_what_was_configured_before_does_not_write_a_second_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger().addHandler(logging.StreamHandler(sys.stderr))  # as the dramatiq command does

    configure_logging(settings_for(tmp_path))
    logging.getLogger("dramatiq.worker").info("once")

    assert capsys.readouterr().err.count("once") == 1
    assert combined(tmp_path).count("once") == 1


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("silly", {"ours-debug", "ours-info", "dramatiq-debug", "dramatiq-info", "kafka-warning"}),
        ("debug", {"ours-debug", "ours-info", "dramatiq-info", "kafka-warning"}),
        ("info", {"ours-info", "dramatiq-info", "kafka-warning"}),
        ("warn", {"kafka-warning"}),
        ("error", set()),
    ],
)
def test_libraries_speak_less_than_we_do(tmp_path: Path, level: str, heard: set[str]) -> None:
    configure_logging(settings_for(tmp_path, LOG_LEVEL=level))

    logging.getLogger("worker.x").debug("ours-debug")
    logging.getLogger("worker.x").info("ours-info")
    logging.getLogger("dramatiq.worker").debug("dramatiq-debug")
    logging.getLogger("dramatiq.worker").info("dramatiq-info")
    logging.getLogger("kafka.conn").info("kafka-info")
    logging.getLogger("kafka.conn").warning("kafka-warning")
    logging.getLogger("peewee").debug("peewee-debug with every value")

    assert {line.split(" ")[3] for line in combined(tmp_path).splitlines()} == heard


def test_the_files_may_be_rotated_from_outside(tmp_path: Path) -> None:
    configure_logging(settings_for(tmp_path))
    logger = logging.getLogger("worker.x")
    logger.info("before")

    (tmp_path / "combined.log").rename(tmp_path / "combined.log.1")
    logger.info("after")

    assert "before" in (tmp_path / "combined.log.1").read_text()
    assert "after" in combined(tmp_path)


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_lines, args=(tmp_path, letter, 200)) for letter in "abc"]

    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    lines = combined(tmp_path).splitlines()
    assert len(lines) == 600
    assert all(LINE.fullmatch(line) and len(set(line.split(" ")[3])) == 1 for line in lines)


def _write_lines(folder: Path, letter: str, count: int) -> None:
    configure_logging(settings_for(folder))
    for _ in range(count):
        logging.getLogger("worker.x").info(letter * 20_000)


def test_a_line_that_cannot_be_written_does_not_fail_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(settings_for(tmp_path))

    logging.getLogger("worker.x").info("%d", "passwordHash")

    assert "passwordHash" not in capsys.readouterr().err


def test_a_folder_that_cannot_be_had_ends_the_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SystemExit) as caught:
        configure_logging(settings_for(tmp_path / "file"))

    assert caught.value.code == 2
    assert "LOG_DIR" in capsys.readouterr().err


def test_a_phrase_takes_its_number() -> None:
    assert PROCESSING_PENDING.format(count=7) == "Processing 7 pending operations"
