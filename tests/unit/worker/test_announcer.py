"""The topic of dead letters is told of each, with all there is to say, until Kafka has confirmed it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, NoBrokersAvailable

from outbox.announcements import Announcement, Audience
from worker.announcer import Announcer, Headers, headers_of
from worker.events import Event, Told
from worker.settings import load_settings

SETTINGS = load_settings({"TOPIC_DEAD_LETTERS": "dead"})


def a_death(number: int = 1, raw: bytes = b"{}", reason: str | None = "User.email: is taken") -> Announcement:
    return Announcement(number, 1_699_876_543_210, "op-ñ", "ops", 1, 2, 9, "User", None, 3, 6, "order", reason, raw)


class Confirmation:
    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def get(self, timeout: float) -> None:
        if self._error is not None:
            raise self._error


class Producer:
    """Confirms what is sent, but for what is larger than the topic takes, and at first fails as often as it is told to."""

    def __init__(self, failures: int = 0, takes_bytes: int = 100) -> None:
        self.failures = failures
        self.takes_bytes = takes_bytes
        self.sent: list[tuple[str, bytes, dict[str, bytes]]] = []
        self.keys: list[bytes | None] = []
        self.closed = 0

    def send(
        self, topic: str, value: bytes | None = None, key: bytes | None = None, *, headers: Headers
    ) -> Confirmation:
        assert value is not None
        self.keys.append(key)
        self.sent.append((topic, value, dict(headers)))
        if len(value) > self.takes_bytes:
            return Confirmation(MessageSizeTooLargeError())
        self.failures -= 1
        return Confirmation(KafkaTimeoutError() if self.failures >= 0 else None)

    def flush(self, timeout: float | None = None) -> None:
        pass

    def close(self, timeout: float | None = None) -> None:
        self.closed += 1


def test_the_headers_say_all_there_is_to_say_and_leave_out_what_is_not_known() -> None:
    headers = {name: value.decode() for name, value in headers_of(a_death(reason=None))}

    assert headers == {
        "error": "order",
        "attempts": "6",
        "topic": "ops",
        "partition": "2",
        "offset": "9",
        "generation": "1",
        "operation-id": "op-ñ",
        "incarnation": "3",
        "entity": "User",
        "died-at": "2023-11-13T11:55:43.210+00:00",
    }


def test_a_text_that_is_no_unicode_is_told_all_the_same() -> None:
    assert ("reason", b"half a pair: ?") in headers_of(a_death(reason="half a pair: \ud83d"))


def test_no_header_holds_a_secret_that_an_operation_id_does() -> None:
    death = msgspec.structs.replace(a_death(), operation_id='{"passwordHash":"hush"}')

    assert not [value for _, value in headers_of(death) if b"hush" in value]


def test_what_kafka_has_confirmed_is_told_with_the_value_as_it_came() -> None:
    producer, told = Producer(), list[Event]()

    Announcer(SETTINGS, told.append, lambda: producer).tell_portion([a_death(4, b"\xff raw"), a_death(5)])

    assert [(topic, value) for topic, value, _ in producer.sent] == [("dead", b"\xff raw"), ("dead", b"{}")]
    assert producer.keys == ["op-ñ".encode()] * 2
    assert told == [Told(Audience.DEAD_LETTER_TOPIC, [4, 5])]


def test_what_kafka_did_not_confirm_is_not_told() -> None:
    told = list[Event]()

    with pytest.raises(KafkaTimeoutError):
        Announcer(SETTINGS, told.append, lambda: Producer(failures=1)).tell_portion([a_death()])

    assert told == []


def test_a_letter_too_large_for_the_topic_is_told_without_its_payload_and_holds_up_nobody() -> None:
    producer, told = Producer(takes_bytes=3), list[Event]()

    Announcer(SETTINGS, told.append, lambda: producer).tell_portion([a_death(1, b"too large"), a_death(2)])

    topic, value, headers = producer.sent[-1]
    assert (topic, value, headers["payload-left-out"]) == ("dead", b"", b"9 bytes, more than the topic takes")
    assert producer.keys == ["op-ñ".encode()] * 3
    assert told == [Told(Audience.DEAD_LETTER_TOPIC, [1, 2])]


def test_a_portion_is_tried_until_kafka_takes_it_each_time_with_a_new_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.announcer.FIRST_BACKOFF_S", 0)
    producer, told = Producer(failures=1), list[Event]()
    connections: list[Any] = [NoBrokersAvailable(), producer, ZeroDivisionError(), producer]

    def connect() -> Producer:
        connection = connections.pop(0)
        if isinstance(connection, Exception):
            raise connection
        assert isinstance(connection, Producer)
        return connection

    def note(event: Event) -> None:
        told.append(event)
        announcer.stop()

    announcer = Announcer(SETTINGS, note, connect)
    announcer.announce([a_death(7)])
    announcer.run()

    assert told == [Told(Audience.DEAD_LETTER_TOPIC, [7])]
    assert (connections, len(producer.sent)) == ([], 2)
