"""``python -m worker.produce`` against real Kafka: records as the application's, each once, each with an operation id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from tests.support.kafka_server import KafkaServer
from tests.support.service import ROOT
from tests.support.streams import a_message
from tests.support.waiting import free_port


def produce(folder: Path, brokers: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KAFKA_BROKERS": brokers}
    command = [sys.executable, "-m", "worker.produce", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def records(kafka: KafkaServer, topic: str) -> list[Any]:
    """Everything on the topic, by partition and offset."""
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap)
    try:
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
        consumer.assign(partitions)
        consumer.seek_to_beginning()
        ends = consumer.end_offsets(partitions)
        found: list[Any] = []
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            found += [record for polled in consumer.poll(1_000).values() for record in polled]
        return sorted(found, key=lambda record: (record.partition, record.offset))
    finally:
        consumer.close()


def test_the_records_are_as_the_application_sends_them(kafka: KafkaServer, topic: str, tmp_path: Path) -> None:
    complete = [
        a_message(f"op-{number}", "DELETE", "User", {"id": 1 + number}, timestamp=number + 1) for number in range(60)
    ]
    nameless = [a_message(None, "DELETE", "User", {"id": 100 + number}) for number in range(60)]
    exported = json.dumps({"raw": a_message("op-x", "DELETE", "User", {"id": 9}).decode(), "state": "dead"}).encode()
    file = tmp_path / "operations.jsonl"
    file.write_bytes(b"\n".join([*complete, *nameless, exported]))

    result = produce(tmp_path, kafka.bootstrap, "--topic", topic, "--rate", "2000", str(file))

    assert (result.returncode, result.stderr) == (0, "")
    found = records(kafka, topic)
    messages = [json.loads(record.value) for record in found]
    assert len(found) == 121
    assert {record.key for record in found} == {None}
    assert len({record.partition for record in found}) > 1
    assert set(complete) < {record.value for record in found}
    assert len({message["metadata"]["operationId"] for message in messages}) == 121
    # The order of the file is that of Kafka's timestamps where an operation has none of its own.
    ordered = sorted((record.timestamp, json.loads(record.value)["data"]["id"]) for record in found)
    assert [row for _, row in ordered if row >= 100] == list(range(100, 160))


def test_new_ids_make_other_operations_of_the_same_lines(kafka: KafkaServer, topic: str, tmp_path: Path) -> None:
    file = tmp_path / "operations.jsonl"
    file.write_bytes(a_message("op-1", "DELETE", "User", {"id": 1}, timestamp=1))

    result = produce(tmp_path, kafka.bootstrap, "--topic", topic, "--new-ids", str(file))

    assert result.returncode == 0
    (record,) = records(kafka, topic)
    message = json.loads(record.value)
    assert message["metadata"]["operationId"] != "op-1"
    assert (message["data"], message["metadata"]["timestamp"]) == ({"id": 1}, 1)


def test_a_topic_that_is_not_there_a_record_too_big_and_no_kafka_are_told(
    kafka: KafkaServer, topic: str, tmp_path: Path
) -> None:
    file = tmp_path / "operations.jsonl"
    texts = dict.fromkeys(("valueProposition", "customerSegment"), "x" * 60000)
    big = {"records": [{"businessId": 1, **texts} for _ in range(50)]}
    file.write_bytes(a_message("big", "BULK_CREATE", "BusinessModel", big))

    no_topic = produce(tmp_path, kafka.bootstrap, "--topic", "nobody-made-it", str(file))
    too_big = produce(tmp_path, kafka.bootstrap, "--topic", topic, str(file))
    no_kafka = produce(tmp_path, f"127.0.0.1:{free_port()}", str(file))

    assert [one.returncode for one in (no_topic, too_big, no_kafka)] == [1, 1, 1]
    assert "nobody-made-it" in no_topic.stderr
    assert "TOPIC_DB_OPERATIONS" in no_topic.stderr
    assert "line 1" in too_big.stderr
    assert "KAFKA_BROKERS" in no_kafka.stderr
