"""The numbers of a real ingest and of real actors, while servers come and go."""

from __future__ import annotations

import pytest

from tests.support.metrics import fetch, total
from tests.support.pipeline import Pipeline
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually, free_port

MESSAGES = [
    a_message("op_1", "CREATE", "User", a_user("ana@example.co", id=1), timestamp=1),
    a_message("op_2", "UPDATE", "User", {"id": 1, "firstName": "Eva"}, timestamp=2),
    a_message("op_3", "UPDATE", "User", {"id": 99, "firstName": "nobody"}, timestamp=3),
    a_message("op_4", "CREATE", "Invoice", {"number": 1}, timestamp=4),
    b"not JSON",
]


@pytest.fixture
def port(pipeline: Pipeline) -> int:
    """Where ingest serves its numbers."""
    return int(pipeline.service.settings["METRICS_PORT"])


def shows(port: int, expected: float, name: str, **labels: str) -> None:
    """Wait until the number is as expected."""
    eventually(
        lambda: total(port, name, **labels) == expected,
        60,
        lambda: f"{name} {labels} is {expected}, not {total(port, name, **labels)}",
        ignoring=(OSError,),
    )


def test_what_an_ingest_did_stands_in_its_numbers(pipeline: Pipeline, port: int) -> None:
    pipeline.service.settings["MAX_RETRY_ATTEMPTS"] = "1"
    pipeline.send(MESSAGES, partitions=1)
    pipeline.service.start()

    pipeline.wait_until_settled()

    shows(port, 3, "outbox_operations", state="dead")
    shows(port, 0, "outbox_operations", state="pending")
    shows(port, 0, "outbox_in_flight_operations")
    assert total(port, "outbox_operations_received_total") == 5
    assert total(port, "outbox_operations_received_total", entity="User", type="UPDATE") == 2
    assert total(port, "outbox_operations_received_total", entity="other", type="CREATE") == 1
    assert total(port, "outbox_operations_received_total", entity="other", type="other") == 1
    assert total(port, "outbox_operations_applied_total", entity="User") == 2
    assert total(port, "outbox_operations_retried_total", entity="User", type="UPDATE") == 1
    assert total(port, "outbox_operations_dead_total") == 3
    assert total(port, "outbox_produced_to_applied_seconds_count") == 2
    assert total(port, "outbox_persisted_to_applied_seconds_count") == 2
    assert total(port, "outbox_batch_operations_sum") >= 3
    assert total(port, "outbox_is_active") == 1
    assert total(port, "outbox_epoch") >= 1
    assert total(port, "outbox_oldest_operation_age_seconds") == 0
    shows(port, 0, "outbox_consumer_lag_records")
    shows(port, 2, "outbox_living_workers")
    assert [total(port, "outbox_server_up", server=name) for name in ("kafka", "database", "redis")] == [1, 1, 1]
    assert [fetch(port, path)[0] for path in ("/healthz", "/readyz")] == [200, 200]


def test_an_outage_of_the_database_is_a_pause_with_a_name_and_readiness_stays(pipeline: Pipeline, port: int) -> None:
    pipeline.service.start()
    shows(port, 1, "outbox_server_up", server="database")

    pipeline.mariadb.kill()
    pipeline.send(MESSAGES[:1])

    shows(port, 0, "outbox_server_up", server="database")
    shows(port, 1, "outbox_is_paused", why="database")
    shows(port, 1, "outbox_operations", state="pending")
    assert total(port, "outbox_oldest_operation_age_seconds") > 0
    assert fetch(port, "/readyz")[0] == 200

    pipeline.mariadb.start()
    pipeline.wait_until_settled()

    shows(port, 0, "outbox_is_paused", why="database")
    assert total(port, "outbox_paused_seconds_total", why="database") > 0


def test_kafka_and_redis_are_seen_to_go_and_to_come_back(pipeline: Pipeline, port: int) -> None:
    pipeline.service.start()
    shows(port, 1, "outbox_server_up", server="kafka")
    shows(port, 2, "outbox_living_workers")

    pipeline.kafka.kill()
    pipeline.redis_server.kill()

    shows(port, 0, "outbox_server_up", server="kafka")
    shows(port, 0, "outbox_server_up", server="redis")
    assert "outbox_living_workers " not in fetch(port)[1]

    pipeline.kafka.start()
    pipeline.redis_server.start()

    shows(port, 1, "outbox_server_up", server="kafka")
    shows(port, 1, "outbox_server_up", server="redis")
    shows(port, 2, "outbox_living_workers")


def test_actors_that_are_gone_are_seen_to_be_gone_though_ingest_goes_on(pipeline: Pipeline, port: int) -> None:
    pipeline.service.start()
    shows(port, 2, "outbox_living_workers")

    pipeline.service.actors.kill()
    pipeline.send(MESSAGES[:1])

    shows(port, 0, "outbox_living_workers")


def test_who_stands_by_is_ready_and_not_active_and_a_taken_port_ends_nobody(pipeline: Pipeline, port: int) -> None:
    first = pipeline.service
    first.start()
    shows(port, 1, "outbox_is_active")
    second_port = free_port()
    settings = {
        **first.settings,
        "OUTBOX_PATH": str(first.folder / "second.sqlite3"),
        "LOG_DIR": str(first.folder / "second-logs"),
    }
    second = type(first)(first.folder / "second", {**settings, "METRICS_PORT": str(second_port)})
    third = type(first)(first.folder / "third", {**settings, "OUTBOX_PATH": str(first.folder / "third.sqlite3")})
    for service in (second, third):
        service.folder.mkdir()
    try:
        second.start_ingest()
        third.start_ingest()

        eventually(lambda: fetch(second_port, "/readyz")[0] == 200, 60, "the second is ready", ignoring=(OSError,))
        assert total(second_port, "outbox_is_active") == 0
        third.ingest.wait_for_log(f"METRICS_PORT={port} cannot be had", 60)
        assert third.ingest.is_running
    finally:
        second.kill()
        third.kill()


def test_the_actors_processes_add_up_on_one_page_and_leave_with_their_main_process(pipeline: Pipeline) -> None:
    actors_port = free_port()
    pipeline.service.settings["ACTORS_METRICS_PORT"] = str(actors_port)
    pipeline.send([a_message(f"op_{n}", "CREATE", "User", a_user(f"{n}@example.co")) for n in range(50)])
    pipeline.service.start()
    pipeline.wait_until_settled()

    eventually(
        lambda: total(actors_port, "dramatiq_messages_total", actor_name="apply_operations") >= 1,
        60,
        "batches are counted",
        ignoring=(OSError,),
    )
    assert total(actors_port, "dramatiq_message_duration_milliseconds_count", actor_name="apply_operations") >= 1

    pipeline.service.actors.kill_leader()

    def is_gone() -> bool:
        try:
            fetch(actors_port)
        except OSError:
            return True
        return False

    eventually(is_gone, 30, "nobody listens at the actors' port")
