"""Fixtures for tests that need real servers: each server once a session, and a fresh place in it for each test.

A server is started by the first test that asks for it. If its programs are missing the test is skipped and says which;
with CI=true that is a failure.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from selenium.webdriver import Chrome

from tests.support import machine
from tests.support.browser import chromium
from tests.support.certificates import Certificates, make_certificates
from tests.support.kafka_server import KafkaServer
from tests.support.mariadb_server import MariaDBServer
from tests.support.pipeline import Pipeline
from tests.support.redis_server import RedisServer
from tests.support.secure_servers import SecureKafka, SecureMariaDB, SecureRedis
from tests.support.service import Service, settings_for

# How long one example takes depends on the machine, so it is no property to be tested.
hypothesis.settings.register_profile("tests", deadline=None, print_blob=True)
hypothesis.settings.load_profile("tests")

# A client whose server is taken away says so many times a second; a failed test should show its own story.
logging.getLogger("kafka").setLevel(logging.CRITICAL)

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def servers_folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The servers' data and logs; kept when a test has failed."""
    folder = Path(tempfile.mkdtemp(prefix="sumerce-"))
    yield folder
    if request.session.testsfailed:
        print(f"\nthe servers' logs and data are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def the_kafka(servers_folder: Path) -> Iterator[KafkaServer]:
    require("kafka")
    server = KafkaServer(servers_folder / "kafka")
    yield server
    server.kill()


@pytest.fixture(scope="session")
def the_mariadb(servers_folder: Path) -> Iterator[MariaDBServer]:
    require("mariadb")
    server = MariaDBServer(servers_folder / "mariadb")
    yield server
    server.kill()


@pytest.fixture(scope="session")
def the_redis(servers_folder: Path) -> Iterator[RedisServer]:
    require("redis")
    server = RedisServer(servers_folder / "redis")
    yield server
    server.kill()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def secure_kafka(servers_folder: Path, certificates: Certificates) -> Iterator[SecureKafka]:
    """Apache Kafka with TLS and accounts, running."""
    require("kafka")
    server = SecureKafka(servers_folder / "secure-kafka", certificates)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def secure_mariadb(servers_folder: Path, certificates: Certificates) -> Iterator[SecureMariaDB]:
    """MariaDB with TLS and an account that must show a certificate, running."""
    require("mariadb")
    server = SecureMariaDB(servers_folder / "secure-mariadb", certificates)
    server.start()
    server.create_account()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def secure_redis(servers_folder: Path, certificates: Certificates) -> Iterator[SecureRedis]:
    """Redis with TLS and an ACL user, running."""
    require("redis")
    server = SecureRedis(servers_folder / "secure-redis", certificates)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def kafka(the_kafka: KafkaServer) -> KafkaServer:
    """Apache Kafka, running. `topic` is a fresh one in it."""
    the_kafka.ensure_running()
    return the_kafka


@pytest.fixture
def mariadb(the_mariadb: MariaDBServer) -> MariaDBServer:
    """MariaDB, running. `database` is a fresh one in it."""
    the_mariadb.ensure_running()
    return the_mariadb


@pytest.fixture
def redis_server(the_redis: RedisServer) -> RedisServer:
    """Redis, running and empty."""
    the_redis.ensure_running()
    the_redis.flush()
    return the_redis


@pytest.fixture
def database(mariadb: MariaDBServer) -> Iterator[str]:
    """The name of an empty database."""
    name = f"sumerce_{next(_numbers)}"
    mariadb.create_database(name)
    yield name
    if mariadb.child.is_running:
        mariadb.resume()
        mariadb.drop_database(name)


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    """The name of an empty topic with three partitions; the consumer group of `service_settings` is its own too."""
    name = f"operations-{next(_numbers)}"
    kafka.create_topic(name, partitions=3)
    return name


@pytest.fixture
def service_settings(
    kafka: KafkaServer, mariadb: MariaDBServer, redis_server: RedisServer, database: str, topic: str, tmp_path: Path
) -> dict[str, str]:
    """Settings of a service with a database, a topic, a group and an outbox of this test alone."""
    return settings_for(kafka, mariadb, redis_server, database, topic, tmp_path)


@pytest.fixture
def service(service_settings: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    """The three programs, not yet started. They are killed at the end, whatever the test has left."""
    service = Service(tmp_path, service_settings)
    yield service
    service.kill()


@pytest.fixture
def pipeline(service: Service, kafka: KafkaServer, mariadb: MariaDBServer, redis_server: RedisServer) -> Pipeline:
    """The service, not yet started, with the application's tables in its database."""
    return Pipeline(service, kafka, mariadb, redis_server)


@pytest.fixture
def browser() -> Iterator[Chrome]:
    """A headless Chromium."""
    require("chromium")
    with chromium() as opened:
        yield opened


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the programs' output with a failed test."""
    report = yield
    service = getattr(item, "funcargs", {}).get("service")
    if report.failed and isinstance(service, Service):
        report.sections.append(("the service's programs", service.log_tails()))
    return report


def require(server: str) -> None:
    """Skip the test if the server's programs are missing; with CI=true fail it."""
    lacking = machine.missing(server)
    if not lacking:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"with CI=true no server may be missing: {lacking}", pytrace=False)
    pytest.skip(lacking)
