"""The pipeline fixture: the service with an application's database around it."""

from __future__ import annotations

import pytest

from tests.support.kafka_server import KafkaServer
from tests.support.mariadb_server import MariaDBServer
from tests.support.pipeline import Pipeline
from tests.support.redis_server import RedisServer
from tests.support.service import Service


@pytest.fixture
def pipeline(service: Service, kafka: KafkaServer, mariadb: MariaDBServer, redis_server: RedisServer) -> Pipeline:
    """The service, not yet started, with the application's tables in its database."""
    return Pipeline(service, kafka, mariadb, redis_server)
