"""The topic changes under a running ingest, or a second one bears its name: reading goes on, of every partition there is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.kafka_server import Record
from tests.support.pipeline import Pipeline
from tests.support.service import Service
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually

ACTIVE = "this ingest is the active one"


@pytest.fixture
def service(service: Service) -> Service:
    """Not started; the group misses it after a few seconds."""
    service.settings |= {"CONSUMER_SESSION_TIMEOUT": "3000", "CONSUMER_HEARTBEAT_INTERVAL": "300"}
    return service


@pytest.fixture
def namesake(service: Service) -> Iterator[Service]:
    """Another host that was given the same name in the group by mistake."""
    service.settings["KAFKA_GROUP_INSTANCE_ID"] = "the-ingest"
    namesake = service.another_host("namesake")
    yield namesake
    namesake.kill()


def one_in_each(pipeline: Pipeline, partitions: int, name: str) -> None:
    """A new user in each partition, without an operation id: two of one place and generation are taken for one."""
    users = [a_message(None, "CREATE", "User", a_user(f"{name}{p}@example.co")) for p in range(partitions)]
    pipeline.kafka.produce(pipeline.topic, [Record(partition, user) for partition, user in enumerate(users)])


def users(pipeline: Pipeline) -> int:
    [(count,)] = pipeline.query("SELECT COUNT(*) FROM usuarios")
    return int(count)


def wait_for_users(pipeline: Pipeline, count: int, timeout: float = 60) -> None:
    def told() -> str:
        return f"{users(pipeline)} of {count} users\n{pipeline.service.log_tails()}"

    eventually(lambda: users(pipeline) >= count, timeout, told)
    assert users(pipeline) == count


def test_a_topic_that_is_made_only_after_ingest_was_killed_and_started_again_is_read(
    pipeline: Pipeline, service: Service
) -> None:
    pipeline.kafka.delete_topic(pipeline.topic)
    service.start()
    eventually(lambda: pipeline.kafka.members(service.settings["KAFKA_GROUP_ID"]) == 1, 30, service.log_tails)
    service.ingest.kill()
    service.start_ingest()

    pipeline.kafka.create_topic(pipeline.topic, partitions=3)
    one_in_each(pipeline, 3, "first")

    wait_for_users(pipeline, 3, timeout=90)


def test_partitions_that_are_added_are_read_by_a_restarted_member(pipeline: Pipeline, service: Service) -> None:
    service.start()
    one_in_each(pipeline, 3, "before")
    wait_for_users(pipeline, 3)
    service.ingest.kill()
    service.start_ingest()

    pipeline.kafka.add_partitions(pipeline.topic, 5)
    one_in_each(pipeline, 5, "after")

    wait_for_users(pipeline, 8, timeout=90)


def test_a_topic_that_is_made_anew_under_a_restarted_member_is_read_from_its_beginning(
    pipeline: Pipeline, service: Service
) -> None:
    service.start()
    one_in_each(pipeline, 3, "before")
    wait_for_users(pipeline, 3)
    service.ingest.kill()
    service.start_ingest()
    for name in ("one", "two", "three", "four"):
        one_in_each(pipeline, 3, name)
    wait_for_users(pipeline, 15)

    pipeline.kafka.delete_topic(pipeline.topic)
    pipeline.kafka.create_topic(pipeline.topic, partitions=2)
    for name in ("first", "second", "third"):
        one_in_each(pipeline, 2, name)

    wait_for_users(pipeline, 21, timeout=120)


def test_two_with_the_same_name_do_no_harm_and_one_goes_on_when_the_other_ends(
    pipeline: Pipeline, service: Service, namesake: Service
) -> None:
    service.start()
    one_in_each(pipeline, 3, "alone")
    wait_for_users(pipeline, 3)
    namesake.start_ingest()
    namesake.ingest.wait_for_log(ACTIVE, 60)
    one_in_each(pipeline, 3, "together")
    wait_for_users(pipeline, 6)

    namesake.ingest.stop()
    one_in_each(pipeline, 3, "again")

    wait_for_users(pipeline, 9, timeout=90)


def test_what_waits_in_the_outbox_is_applied_when_an_operator_has_reset_the_offsets(
    pipeline: Pipeline, service: Service
) -> None:
    service.start()
    one_in_each(pipeline, 3, "before")
    wait_for_users(pipeline, 3)
    pipeline.mariadb.stop()
    service.ingest.wait_for_log("Database is now UNHEALTHY")
    one_in_each(pipeline, 3, "waiting")
    eventually(lambda: pipeline.counts().unsettled == 3, 30, service.log_tails)
    service.ingest.stop()

    one_in_each(pipeline, 3, "skipped")
    for partition in range(3):
        pipeline.kafka.commit(pipeline.topic, service.settings["KAFKA_GROUP_ID"], partition, 3)
    pipeline.mariadb.start()
    service.start_ingest()
    one_in_each(pipeline, 3, "after")

    wait_for_users(pipeline, 9)
    assert pipeline.query("SELECT COUNT(*) FROM usuarios WHERE email LIKE 'skipped%'") == [(0,)]
