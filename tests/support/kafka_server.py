"""Apache Kafka: one node that is broker and controller (KRaft), and what tests do with topics and groups."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewPartitions, NewTopic
from kafka.structs import OffsetAndMetadata

from tests.support import kafka_jars
from tests.support.server import Server
from tests.support.waiting import eventually, free_port

CLUSTER_ID = "YWRlbGFudGUtc3VtZXJjZQ"

#: The API level that kafka-python-ng finds by itself in this Kafka; to say it saves 0.1 s for each client.
API_VERSION = (2, 6, 0)

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
# room for the 1 MB operations of the tests
message.max.bytes=4194304
# one broker: no copies, and few partitions for Kafka's own topics, which makes the start faster
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# tests do not wait for members that are not there, and may choose short sessions
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# a killed broker may come back once its old session is over
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
file.delete.delay.ms=100
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=4
"""


@dataclass(frozen=True)
class Record:
    """What tests send: no key, as the application does.

    :ivar timestamp_ms: Kafka's own timestamp of the record; None = now.
    """

    partition: int
    value: bytes
    timestamp_ms: int | None = None


@dataclass(frozen=True)
class Committed:
    """What a consumer group has committed for one partition."""

    offset: int
    metadata: str


class KafkaServer(Server):
    """A broker of 512 MB, up in 4 s."""

    name = "kafka"
    start_timeout = 90.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.controller_port = free_port()
        #: The value of KAFKA_BROKERS.
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._properties_file = folder / "kafka.properties"

    def prepare(self) -> None:
        kafka_jars.fetch()
        self._properties_file.write_text(self.properties())
        format_storage = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._properties_file)]
        result = subprocess.run(
            _java(["-Xmx128m"], [*format_storage, *self.format_options()]), capture_output=True, text=True
        )
        assert result.returncode == 0, f"Kafka's storage could not be formatted:\n{result.stdout}{result.stderr}"

    def properties(self) -> str:
        """The text of its properties file."""
        ports = {"port": self.port, "controller_port": self.controller_port}
        return PROPERTIES.format(data=self.folder / "kafka-data", **ports)

    def format_options(self) -> list[str]:
        """What else its storage is formatted with."""
        return []

    def command(self) -> list[str]:
        memory = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        logger = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
        return _java([*memory, *logger], ["kafka.Kafka", str(self._properties_file)])

    def is_ready(self) -> bool:
        """Whether the broker is registered, leads every partition it has, and coordinates groups.

        After a kill that lasts until its old session is over. Asking for a group makes Kafka's own topic of offsets.
        """
        with self._admin() as admin:
            admin.list_consumer_group_offsets("is-ready")
            topics = admin.describe_topics()
            leaders = [partition["leader"] for topic in topics for partition in topic["partitions"]]
            return bool(admin.describe_cluster()["brokers"]) and all(leader >= 0 for leader in leaders)

    def create_topic(self, topic: str, partitions: int = 3, timeout: float = 20.0) -> None:
        """Make a topic, and return when each partition can be written to."""
        with self._admin() as admin:
            admin.create_topics([NewTopic(topic, partitions, 1)])
        self._wait_for_partitions(topic, partitions, timeout)

    def add_partitions(self, topic: str, partitions: int, timeout: float = 20.0) -> None:
        """Let the topic have this many partitions in all."""
        with self._admin() as admin:
            admin.create_partitions({topic: NewPartitions(partitions)})
        self._wait_for_partitions(topic, partitions, timeout)

    def delete_topic(self, topic: str, timeout: float = 20.0) -> None:
        """Remove the topic with all that is in it, and return when its name is free."""
        with self._admin() as admin:
            admin.delete_topics([topic])
            eventually(lambda: topic not in admin.list_topics(), timeout, f"Kafka deletes {topic}")

    def produce(self, topic: str, records: Iterable[Record]) -> list[int]:
        """Send the records, each to its partition, in order; their offsets, once Kafka has them all.

        :raises kafka.errors.KafkaError: if Kafka did not take one of them.
        """
        with self.producer() as send:
            sent = [send(topic, record) for record in records]
        return [offset() for offset in sent]

    @contextmanager
    def producer(self) -> Iterator[Callable[[str, Record], Callable[[], int]]]:
        """A function that sends one record and returns at once; what it returns gives the offset, waiting for it.

        All is sent when the block is left.
        """
        client = KafkaProducer(
            bootstrap_servers=self.bootstrap,
            api_version=API_VERSION,
            acks="all",
            max_in_flight_requests_per_connection=1,  # in order, even if a request is sent again
            max_request_size=4_194_304,
            linger_ms=2,
        )

        def send(topic: str, record: Record) -> Callable[[], int]:
            future = client.send(
                topic, value=record.value, partition=record.partition, timestamp_ms=record.timestamp_ms
            )
            return lambda: int(future.get(30).offset)

        try:
            yield send
            client.flush(60)
        finally:
            client.close(10)

    def committed(self, group: str, topic: str) -> dict[int, Committed]:
        """The group's committed offset of each partition that has one."""
        with self._admin() as admin:
            offsets = admin.list_consumer_group_offsets(group)
        found = [(where.partition, kept) for where, kept in offsets.items() if where.topic == topic]
        return {partition: Committed(kept.offset, kept.metadata or "") for partition, kept in found if kept.offset >= 0}

    def commit(self, topic: str, group: str, partition: int, offset: int, metadata: str = "") -> None:
        """Commit for a group that has no member now, as an operator's tools do: they leave no metadata."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.bootstrap, api_version=API_VERSION, group_id=group, enable_auto_commit=False
        )
        try:
            where = TopicPartition(topic, partition)
            consumer.assign([where])
            consumer.commit({where: OffsetAndMetadata(offset, metadata)})
        finally:
            consumer.close()

    def end_offsets(self, topic: str) -> dict[int, int]:
        """The offset that the next record of each partition will get."""
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, api_version=API_VERSION)
        try:
            partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            return {where.partition: end for where, end in consumer.end_offsets(partitions).items()}
        finally:
            consumer.close()

    def records(self, topic: str) -> list[Any]:
        """All that the topic holds now, as kafka-python's records (value, headers, partition, offset)."""
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, api_version=API_VERSION)
        try:
            places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            ends = consumer.end_offsets(places)
            consumer.assign(places)
            consumer.seek_to_beginning()
            found: list[Any] = []
            while any(consumer.position(place) < ends[place] for place in places):
                for records in consumer.poll(timeout_ms=200).values():
                    found += records
            return found
        finally:
            consumer.close()

    def members(self, group: str) -> int:
        """How many members the consumer group has now."""
        with self._admin() as admin:
            return len(admin.describe_consumer_groups([group])[0].members)

    def _wait_for_partitions(self, topic: str, partitions: int, timeout: float) -> None:
        with self._admin() as admin:

            def are_led() -> bool:
                found = admin.describe_topics([topic])[0]["partitions"]
                return len(found) == partitions and all(partition["leader"] >= 0 for partition in found)

            eventually(are_led, timeout, f"{topic} has {partitions} partitions")

    @contextmanager
    def _admin(self) -> Iterator[KafkaAdminClient]:
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap, api_version=API_VERSION)
        try:
            yield admin
        finally:
            admin.close()


def _java(options: list[str], program: list[str]) -> list[str]:
    java = shutil.which("java")
    assert java is not None, "Apache Kafka needs Java 17, and there is no `java`"
    return [java, *options, "-cp", f"{kafka_jars.jars_folder()}/*", *program]
