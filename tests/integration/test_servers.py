"""The tests' own servers: they answer, keep what they were told, and can be taken away and brought back."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pymysql
import pytest
import redis
from kafka import KafkaConsumer, TopicPartition
from selenium.webdriver import Chrome

from tests.support.child import Child
from tests.support.kafka_server import Committed, KafkaServer, Record
from tests.support.mariadb_server import MariaDBServer
from tests.support.redis_server import RedisServer
from tests.support.server import Server
from tests.support.service import ROOT
from tests.support.waiting import can_connect, eventually, free_port


def test_kafka_gives_each_partition_its_records_in_order(kafka: KafkaServer, topic: str) -> None:
    sent = [Record(number % 3, b"operation %d" % number, timestamp_ms=1_000 + number) for number in range(30)]

    offsets = kafka.produce(topic, sent)

    assert offsets == [number // 3 for number in range(30)]
    assert kafka.end_offsets(topic) == {0: 10, 1: 10, 2: 10}
    read = _read_all(kafka, topic, 30)
    for partition in range(3):
        expected = [(record.value, record.timestamp_ms) for record in sent if record.partition == partition]
        assert [(value, timestamp) for where, value, timestamp in read if where == partition] == expected


def test_kafka_keeps_records_and_commits_over_a_kill(kafka: KafkaServer, topic: str) -> None:
    kafka.produce(topic, [Record(1, b"kept")])
    kafka.commit(topic, "group-of-the-test", partition=1, offset=1, metadata="settled: 0")

    kafka.kill()
    kafka.start()

    assert _read_all(kafka, topic, 1)[0][:2] == (1, b"kept")
    assert kafka.committed("group-of-the-test", topic) == {1: Committed(1, "settled: 0")}


def test_kafka_topics_grow_and_are_made_anew(kafka: KafkaServer, topic: str) -> None:
    kafka.produce(topic, [Record(0, b"old")])

    kafka.add_partitions(topic, 4)
    assert kafka.end_offsets(topic) == {0: 1, 1: 0, 2: 0, 3: 0}

    kafka.delete_topic(topic)
    kafka.create_topic(topic, partitions=1)
    assert kafka.end_offsets(topic) == {0: 0}


def test_mariadb_is_strict_speaks_every_character_and_keeps_commits_over_a_kill(
    mariadb: MariaDBServer, database: str
) -> None:
    mariadb.execute("CREATE TABLE t (name VARCHAR(5)) ENGINE=InnoDB", database=database)
    mariadb.execute("INSERT INTO t VALUES (%s)", ("año 🌱",), database=database)

    with pytest.raises(pymysql.err.DataError):
        mariadb.execute("INSERT INTO t VALUES (%s)", ("too long",), database=database)
    mariadb.kill()
    mariadb.start()

    assert mariadb.rows("SELECT name FROM t", database=database) == [("año 🌱",)]


def test_redis_keeps_its_keys_over_a_kill(redis_server: RedisServer) -> None:
    with redis_server.client(1) as client:
        client.set("key", "value")
    # the append-only file is written before the reply; "everysec" is about the disk behind it

    redis_server.kill()
    redis_server.start()

    with redis_server.client(1) as client:
        assert client.get("key") == b"value"


@pytest.mark.parametrize("name", ["kafka", "mariadb", "redis_server"])
def test_a_server_restarts_on_its_port(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(name)
    port = server.port

    server.stop()
    assert server.child.exit_code in (0, 143)  # 143: Java's answer to SIGTERM after an orderly end
    assert not can_connect(port)
    server.start()

    assert server.port == port
    assert can_connect(port)


def test_a_frozen_server_is_silent_until_it_is_resumed(redis_server: RedisServer) -> None:
    impatient = redis.Redis(port=redis_server.port, socket_timeout=0.2)

    redis_server.pause()
    with pytest.raises(redis.TimeoutError):
        impatient.ping()
    redis_server.resume()
    redis_server.wait_until_ready()

    assert impatient.ping()
    impatient.close()


def test_a_server_that_fails_to_start_shows_its_log(the_redis: RedisServer, tmp_path: Path) -> None:
    server = RedisServer(tmp_path, appendfsync="nonsense")  # `the_redis`: there is a Redis to be started

    with pytest.raises(AssertionError, match="appendfsync"):
        server.start()


def test_children_and_grandchildren_do_not_survive_the_tests(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time\n"
        "from tests.support.child import Child\n"
        "child = Child('shell', ['sh', '-c', 'sleep 600 & echo $!; wait'], pathlib.Path(sys.argv[1]))\n"
        "child.spawn()\n"
        "print('spawned', flush=True)\n"
        "time.sleep(600)\n"
    )
    tests = Child("tests", [sys.executable, "-c", script, str(tmp_path / "pid")], tmp_path / "log", directory=ROOT)
    tests.spawn()
    tests.wait_for_log("spawned")
    grandchild = int(eventually((tmp_path / "pid").read_text, 20, "the grandchild's pid"))

    os.kill(tests.pid, signal.SIGKILL)

    eventually(lambda: not _is_alive(grandchild), 10, "the grandchild is dead")
    tests.kill()


def test_free_ports_are_never_given_out_twice() -> None:
    ports = [free_port() for _ in range(100)]

    assert len(set(ports)) == 100


def test_chromium_shows_a_page(browser: Chrome, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<title>A page</title><p id=greeting>¡A la orden!</p>", encoding="utf-8")

    browser.get(page.as_uri())

    assert browser.title == "A page"


def _read_all(kafka: KafkaServer, topic: str, count: int) -> list[tuple[int, bytes, int]]:
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    try:
        partitions = eventually(lambda: consumer.partitions_for_topic(topic), 10, f"the partitions of {topic}")
        consumer.assign([TopicPartition(topic, number) for number in partitions])
        read: list[tuple[int, bytes, int]] = []

        def has_read_all() -> bool:
            for records in consumer.poll(100).values():
                read.extend((record.partition, record.value, record.timestamp) for record in records)
            return len(read) >= count

        eventually(has_read_all, 20, lambda: f"{count} records; read: {len(read)}")
        return read
    finally:
        consumer.close()


def _is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().split(")")[1].split()[0] != "Z"
