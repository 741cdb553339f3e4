"""Kafka through TLS and with accounts: each way in, and for who is not let in the variable to look at."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from outbox.announcements import Announcement
from tests.support.secure_servers import SECRET, SecureKafka
from tests.support.service import ROOT
from tests.support.streams import a_message
from tests.support.waiting import eventually
from worker.announcer import Announcer
from worker.consumer import KafkaIntake
from worker.events import Event, Told
from worker.settings import Settings, load_settings

WAYS_IN = [
    ("SASL_PLAINTEXT", "plain"),
    ("SASL_SSL", "plain"),
    ("SASL_SSL", "scram-sha-256"),
    ("SASL_SSL", "scram-sha-512"),
    ("SSL", ""),
]

DEATH = Announcement(1, 1_700_000_000_000, "op-1", "ops", 1, 2, 9, "User", None, 3, 6, "order", "why", b"{}")

#: Where a client comes in, what is wrong with it, and what it should be told.
REFUSALS = [
    pytest.param("SASL_SSL", "plain", {"KAFKA_SASL_PASSWORD": SECRET + "-not"}, "KAFKA_SASL_PASSWORD", id="plain"),
    pytest.param(
        "SASL_SSL", "scram-sha-256", {"KAFKA_SASL_PASSWORD": SECRET + "-not"}, "KAFKA_SASL_PASSWORD", id="256"
    ),
    pytest.param("SASL_SSL", "scram-sha-512", {"KAFKA_SASL_USERNAME": "nobody"}, "KAFKA_SASL_USERNAME", id="nobody"),
    pytest.param("SASL_PLAINTEXT", "scram-sha-512", {}, "KAFKA_SASL_MECHANISM", id="mechanism"),
    pytest.param("SASL_SSL", "plain", {"KAFKA_SSL_CA": "other"}, "KAFKA_SSL_CA", id="unknown authority"),
    pytest.param("SASL_SSL", "plain", {"KAFKA_BROKERS": "localhost"}, "KAFKA_BROKERS", id="another name"),
    pytest.param("SASL_SSL", "plain", {"KAFKA_BROKERS": "plain"}, "KAFKA_SECURITY_PROTOCOL", id="TLS to a plain port"),
    pytest.param("PLAINTEXT", "", {"KAFKA_BROKERS": "tls"}, "KAFKA_SECURITY_PROTOCOL", id="plain to a TLS port"),
    pytest.param("PLAINTEXT", "", {"KAFKA_BROKERS": "sasl"}, "KAFKA_SECURITY_PROTOCOL", id="no account"),
    pytest.param("SSL", "", {"KAFKA_BROKERS": "tls"}, "KAFKA_SECURITY_PROTOCOL", id="TLS and no account"),
    pytest.param("SSL", "", {"KAFKA_SSL_CERT": "", "KAFKA_SSL_KEY": ""}, "KAFKA_SSL_CERT", id="no certificate"),
]


@pytest.fixture(scope="session")
def topic(secure_kafka: SecureKafka) -> str:
    secure_kafka.create_topic("operations", partitions=1)
    return "operations"


def loaded(settings: dict[str, str], **more: str) -> Settings:
    return load_settings(settings | more, Path("/nowhere/.env"))


def refused(secure_kafka: SecureKafka, listener: str, mechanism: str, changes: dict[str, str]) -> dict[str, str]:
    """Settings of a way in with something wrong."""
    meant = {
        "other": secure_kafka.certificates.unknown_authority,
        "localhost": secure_kafka.listener("SASL_SSL").replace("127.0.0.1", "localhost"),
        "plain": secure_kafka.bootstrap,
        "tls": secure_kafka.listener("SASL_SSL"),
        "sasl": secure_kafka.listener("SASL_PLAINTEXT"),
    }
    settings = {} if listener == "PLAINTEXT" else secure_kafka.settings(listener, mechanism)
    return settings | {name: meant.get(value, value) for name, value in changes.items()}


def produce(folder: Path, settings: dict[str, str], topic: str) -> subprocess.CompletedProcess[str]:
    (folder / "operations.jsonl").write_bytes(a_message("op-1", "DELETE", "User", {"id": 1}, timestamp=1))
    command = [sys.executable, "-m", "worker.produce", "--topic", topic, "operations.jsonl"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "400", **settings}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@contextmanager
def running(target: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=target)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join()


@pytest.mark.parametrize(("listener", "mechanism"), WAYS_IN)
def test_consumer_producer_and_announcer_are_let_in(
    listener: str, mechanism: str, secure_kafka: SecureKafka, topic: str, tmp_path: Path
) -> None:
    settings = secure_kafka.settings(listener, mechanism)
    events: list[Event] = []
    group = f"{listener}-{mechanism}"
    intake = KafkaIntake(loaded(settings, TOPIC_DB_OPERATIONS=topic, KAFKA_GROUP_ID=group), events.append, "one")
    announcer = Announcer(loaded(settings, TOPIC_DEAD_LETTERS=topic), events.append)

    result = produce(tmp_path, settings, topic)
    announcer.announce([DEATH])

    assert (result.returncode, result.stderr) == (0, "")
    with running(announcer.run, announcer.stop):
        eventually(lambda: any(isinstance(event, Told) for event in events), 30, lambda: str(events))
    with running(intake.run, intake.stop):
        eventually(lambda: intake.has_joined, 30)


@pytest.mark.parametrize(("listener", "mechanism", "changes", "variable"), REFUSALS)
def test_a_consumer_that_is_not_let_in_says_what_to_look_at_and_goes_on_trying(
    listener: str,
    mechanism: str,
    changes: dict[str, str],
    variable: str,
    secure_kafka: SecureKafka,
    caplog: pytest.LogCaptureFixture,
) -> None:
    intake = KafkaIntake(loaded(refused(secure_kafka, listener, mechanism, changes)), lambda event: None, "one")

    with running(intake.run, intake.stop):
        eventually(lambda: caplog.text.count(variable) >= 2, 30, lambda: caplog.text)

    assert "Kafka is not reachable" in caplog.text
    assert SECRET not in caplog.text


def test_producer_and_announcer_say_it_too(
    secure_kafka: SecureKafka, topic: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = secure_kafka.settings("SASL_SSL", "scram-sha-512") | {"KAFKA_SASL_PASSWORD": SECRET + "-not"}
    announcer = Announcer(loaded(settings, TOPIC_DEAD_LETTERS=topic), lambda event: None)

    result = produce(tmp_path, settings, topic)
    announcer.announce([DEATH])

    assert result.returncode != 0
    assert "KAFKA_SASL_PASSWORD" in result.stderr
    with running(announcer.run, announcer.stop):
        eventually(lambda: caplog.text.count("KAFKA_SASL_PASSWORD") >= 2, 30, lambda: caplog.text)
    assert SECRET not in caplog.text + result.stderr + result.stdout
