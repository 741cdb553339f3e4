"""No room left: on the outbox's disk, on the database's, in Redis. It is waited for, nothing is lost, no attempt is burnt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.faults.full_disk import NoSmallDisk, SmallDisk
from tests.support.kafka_server import KafkaServer
from tests.support.mariadb_server import MariaDBServer
from tests.support.mixed import mixed_stream
from tests.support.pipeline import Pipeline
from tests.support.redis_server import RedisServer
from tests.support.service import Service
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually

#: An attempt that is burnt is a dead letter that the serial run does not have.
SETTINGS = {"MAX_RETRY_ATTEMPTS": "0", "RETRY_DELAY_MS": "100", "BATCH_MAX_OPERATIONS": "20"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], SmallDisk]]:
    """Makes disks of so many megabytes."""
    disks: list[SmallDisk] = []

    def make(megabytes: int) -> SmallDisk:
        try:
            disks.append(SmallDisk(tmp_path / f"disk-{len(disks)}", megabytes))
        except NoSmallDisk as error:
            pytest.skip(str(error))
        return disks[-1]

    yield make
    for disk in disks:
        disk.unmount()


def some_are_applied(pipeline: Pipeline, count: int) -> None:
    eventually(lambda: pipeline.counts().applied >= count, 60, pipeline.service.log_tails, ignoring=(OSError,))


def assert_serial(pipeline: Pipeline, messages: list[bytes]) -> None:
    """The database is as if the messages had been applied one by one, in outbox order; the cache is true to it."""
    in_outbox_order = [entry.raw for entry in pipeline.entries()]
    assert sorted(in_outbox_order) == sorted(messages)
    rows, refused = pipeline.serial_rows(in_outbox_order)
    assert pipeline.rows() == rows
    assert sorted(pipeline.dead_letters()) == sorted(refused)
    pipeline.wait_until_the_cache_is_true()


def committed(pipeline: Pipeline) -> int:
    """How many messages Kafka takes for read, over all partitions."""
    offsets = pipeline.kafka.committed(pipeline.service.settings["KAFKA_GROUP_ID"], pipeline.topic)
    return sum(one.offset for one in offsets.values())


def persisted(pipeline: Pipeline) -> int:
    with pipeline.outbox() as outbox:
        return sum(position.next_offset for position in outbox.positions())


def test_the_outbox_and_its_logs_have_no_room_and_ingest_lives_on(
    pipeline: Pipeline, small_disk: Callable[[int], SmallDisk]
) -> None:
    disk = small_disk(16)
    pipeline.service.settings |= SETTINGS | {
        "OUTBOX_PATH": str(disk.folder / "outbox.sqlite3"),
        "LOG_DIR": str(disk.folder / "logs"),
        "STATUS_INTERVAL_MS": "200",
    }
    messages = mixed_stream(700, seed=21)
    pipeline.send(messages[:350])
    pipeline.service.start()
    some_are_applied(pipeline, 100)

    disk.fill()
    ingest = pipeline.service.ingest
    ingest.wait_for_log("The outbox cannot be written")
    pipeline.send(messages[350:])
    for _ in range(3):
        ingest.wait_for_log("The outbox cannot be written", after=ingest.log_position())
        assert committed(pipeline) <= persisted(pipeline) < 700
    ingest.wait_for_log("Worker Status", after=ingest.log_position())
    disk.make_room()

    pipeline.wait_until_settled()
    assert_serial(pipeline, messages)
    eventually(lambda: committed(pipeline) == 700, 30, "everything is committed")


def test_ingest_can_be_stopped_and_started_while_the_outbox_has_no_room(
    pipeline: Pipeline, small_disk: Callable[[int], SmallDisk]
) -> None:
    disk = small_disk(16)
    pipeline.service.settings |= SETTINGS | {"OUTBOX_PATH": str(disk.folder / "outbox.sqlite3")}
    messages = mixed_stream(600, seed=22)
    pipeline.send(messages[:300])
    pipeline.service.start()
    some_are_applied(pipeline, 100)

    disk.fill()
    pipeline.service.ingest.wait_for_log("The outbox cannot be written")
    pipeline.send(messages[300:])
    stopped_with = pipeline.service.ingest.stop()
    after = pipeline.service.ingest.log_position()
    pipeline.service.spawn(pipeline.service.ingest)
    pipeline.service.ingest.wait_for_log("The outbox cannot be written", after=after)
    disk.make_room()

    assert stopped_with == 0
    pipeline.wait_until_settled()
    assert_serial(pipeline, messages)


class BoundedMariaDB(MariaDBServer):
    """A server whose tables share one file of 12 MB, which does not grow; from `give_room` on it has a second one."""

    files = "ibdata1:12M"

    def command(self) -> list[str]:
        return [*super().command(), "--innodb-file-per-table=OFF", f"--innodb-data-file-path={self.files}"]

    def give_room(self) -> None:
        """As the database's keeper would: more disk, and a restart."""
        self.files += ";ibdata2:64M"
        self.restart()


@pytest.fixture
def bounded(
    kafka: KafkaServer, redis_server: RedisServer, service_settings: dict[str, str], tmp_path: Path
) -> Iterator[Pipeline]:
    """A service on a `BoundedMariaDB` of its own."""
    server = BoundedMariaDB(tmp_path / "bounded")
    server.start()
    server.create_database("adelante")
    own = {"DB_PORT": str(server.port), "DB_NAME": "adelante"}
    service = Service(tmp_path, service_settings | SETTINGS | own)
    yield Pipeline(service, kafka, server, redis_server)
    service.kill()
    server.kill()


def test_the_database_has_no_room_and_it_counts_as_an_outage(bounded: Pipeline) -> None:
    server = bounded.mariadb
    assert isinstance(server, BoundedMariaDB)
    messages = [a_message("user", "CREATE", "User", a_user("ana@example.co", id=1), timestamp=1)]
    messages += [a_message("business", "CREATE", "Business", {"id": 1, "userId": 1, "name": "x"}, timestamp=2)]
    texts = dict.fromkeys(("valueProposition", "customerSegment", "salesChannels", "incomeSources"), "x" * 60_000)
    messages += [
        a_message(f"op_{number}", "CREATE", "BusinessModel", {"businessId": 1, **texts}) for number in range(30)
    ]
    bounded.send(messages, partitions=1)

    bounded.service.start()
    bounded.service.ingest.wait_for_log("Database is now UNHEALTHY")
    bounded.service.actors.wait_for_log("error 1114")
    while_full = bounded.counts()
    server.give_room()

    bounded.wait_until_settled()
    assert while_full.unsettled > 0
    assert bounded.dead_letters() == {}
    assert {entry.attempts for entry in bounded.entries()} == {0}
    assert bounded.query("SELECT count(*) FROM modelo_negocio") == [(30,)]
    assert bounded.query("SELECT outcome, count(*) FROM settled_operations GROUP BY 1") == [("applied", 32)]


def refuse_writes(server: RedisServer) -> None:
    """As a Redis does that has reached its memory limit and may evict nothing."""
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")


def take_writes(server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("maxmemory", "0")


@pytest.fixture
def broker_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that is the broker's alone."""
    server = RedisServer(tmp_path / "broker-redis")
    server.start()
    yield server
    server.kill()


def refuses(client: redis.Redis) -> bool:
    try:
        client.set("probe", "x")
    except redis.exceptions.OutOfMemoryError:
        return True
    return False


def test_the_brokers_redis_takes_no_writes_and_dispatch_waits(pipeline: Pipeline, broker_redis: RedisServer) -> None:
    pipeline.service.settings |= SETTINGS | {
        "BROKER_REDIS_URL": broker_redis.url(1),
        "RECONCILE_INTERVAL_MS": "300",
        "LEASE_MS": "30000",
    }
    messages = mixed_stream(700, seed=23)
    pipeline.send(messages[:350])
    pipeline.service.start()
    some_are_applied(pipeline, 100)

    refuse_writes(broker_redis)
    assert refuses(broker_redis.client(1))
    pipeline.send(messages[350:])
    pipeline.service.actors.wait_for_log("command not allowed when used memory")
    eventually(lambda: pipeline.counts().total == 700, 30, "operations are persisted meanwhile")
    take_writes(broker_redis)

    pipeline.wait_until_settled()
    assert_serial(pipeline, messages)


def test_the_caches_redis_takes_no_writes_and_no_operation_fails_for_it(
    pipeline: Pipeline, broker_redis: RedisServer
) -> None:
    pipeline.service.settings |= SETTINGS | {"BROKER_REDIS_URL": broker_redis.url(1)}
    pipeline.service.start()
    pipeline.send([a_message("user", "CREATE", "User", a_user("ana@example.co", id=1))])
    pipeline.wait_until_settled()
    pipeline.wait_until_the_cache_is_true()

    refuse_writes(pipeline.redis_server)
    try:
        assert refuses(pipeline.cache)
        pipeline.send([a_message("change", "UPDATE", "User", {"id": 1, "lastName": "Rojas"})])
        counts = pipeline.wait_until_settled()
        pipeline.service.actors.wait_for_log("The cache cannot be made true yet")
        stale: Any = pipeline.cached_rows()
    finally:
        take_writes(pipeline.redis_server)

    assert (counts.applied, counts.dead) == (2, 0)
    assert stale == {}  # no value rather than an old one
    pipeline.wait_until_the_cache_is_true()
