"""The whole service where all three servers want TLS and an account: operations in, rows, cache, settlements and letters out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mixed import mixed_stream
from tests.support.pipeline import Pipeline
from tests.support.secure_servers import SECRET, SecureKafka, SecureMariaDB, SecureRedis
from tests.support.service import Service, settings_for
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually


@pytest.fixture
def secure_pipeline(
    secure_kafka: SecureKafka, secure_mariadb: SecureMariaDB, secure_redis: SecureRedis, tmp_path: Path
) -> Iterator[Pipeline]:
    """The service, not yet started. The test's own clients use the servers' plain ways in, the service does not."""
    for topic in ("secure-operations", "secure-dead"):
        secure_kafka.create_topic(topic)
    secure_mariadb.create_database("secure")
    settings = settings_for(secure_kafka, secure_mariadb, secure_redis, "secure", "secure-operations", tmp_path)
    settings |= secure_kafka.settings("SASL_SSL", "scram-sha-512")
    settings |= secure_mariadb.settings("secure") | secure_redis.settings()
    settings |= {"BROKER_REDIS_URL": "", "TOPIC_DEAD_LETTERS": "secure-dead", "MAX_RETRY_ATTEMPTS": "1"}
    service = Service(tmp_path, settings)
    yield Pipeline(service, secure_kafka, secure_mariadb, secure_redis)
    service.kill()


def test_operations_become_rows_cache_and_settlements_through_tls_and_accounts(secure_pipeline: Pipeline) -> None:
    messages = mixed_stream(300, seed=6)
    refused = a_message("refused", "CREATE", "User", a_user("no address"), timestamp=1_800_000_000_000)

    secure_pipeline.send([*messages, refused])
    secure_pipeline.service.start()
    counts = secure_pipeline.wait_until_settled()

    assert counts.applied + counts.dead == len(messages) + 1
    assert secure_pipeline.rows() == secure_pipeline.serial_rows(messages)[0]
    secure_pipeline.wait_until_the_cache_is_true()
    letters = secure_pipeline.kafka
    eventually(lambda: len(letters.records("secure-dead")) == counts.dead, 60, secure_pipeline.service.log_tails)
    assert SECRET not in secure_pipeline.logged()
