"""Redis through TLS with an ACL user, as cache and as queue: who is not let in is told by the variable to look at."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.support.secure_servers import ACCOUNT, SECRET, SecureRedis
from tests.support.waiting import eventually
from worker.cache.rows import Cache
from worker.redis_link import connect, told
from worker.settings import Settings, load_settings
from worker.settlements import SettlementReader


def cache(settings: Settings) -> redis.Redis:
    return Cache.connect(settings).client


def queue(settings: Settings) -> redis.Redis:
    return connect(settings.broker_redis_url)


CLIENTS = pytest.mark.parametrize("client", [cache, queue])


def loaded(settings: dict[str, str]) -> Settings:
    return load_settings(settings, Path("/nowhere/.env"))


@CLIENTS
def test_the_account_is_let_in_through_tls(
    client: Callable[[Settings], redis.Redis], secure_redis: SecureRedis
) -> None:
    assert client(loaded(secure_redis.settings())).acl_whoami() == ACCOUNT


@CLIENTS
@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"REDIS_PASSWORD": SECRET + "-not"}, "REDIS_PASSWORD"),
        ({"REDIS_USERNAME": "nobody"}, "REDIS_USERNAME"),
        ({"REDIS_SSL_CA": "other"}, "REDIS_SSL_CA"),
        ({"REDIS_SSL_CA": ""}, "REDIS_SSL_CA"),
        ({"REDIS_SSL_CERT": "", "REDIS_SSL_KEY": ""}, "REDIS_SSL_CERT"),
        ({"REDIS_SSL_CERT": "other", "REDIS_SSL_KEY": "other key"}, "REDIS_SSL_CERT"),
        ({"REDIS_HOST": "localhost"}, "REDIS_HOST"),
        (dict.fromkeys(("REDIS_SSL", "REDIS_SSL_CA", "REDIS_SSL_CERT", "REDIS_SSL_KEY"), ""), "REDIS_SSL,"),
        ({"REDIS_PORT": "plain"}, "REDIS_SSL,"),
    ],
)
def test_who_is_not_let_in_is_told_the_variable_and_no_secret(
    client: Callable[[Settings], redis.Redis], changes: dict[str, str], variable: str, secure_redis: SecureRedis
) -> None:
    certificates = secure_redis.certificates
    meant = {"other": certificates.unknown_authority, "other key": certificates.unknown_authority_key}
    meant["plain"] = str(secure_redis.port)
    changed = {name: meant.get(value, value) for name, value in changes.items()}

    with pytest.raises(redis.RedisError) as caught:
        client(loaded(secure_redis.settings() | changed)).ping()

    reason = told(caught.value)
    assert variable in reason
    assert "BROKER_REDIS_URL" in reason
    assert SECRET not in reason


def test_ingest_says_from_the_start_that_the_queue_does_not_let_it_in(
    secure_redis: SecureRedis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    settings = loaded(secure_redis.settings() | {"REDIS_PASSWORD": SECRET + "-not"})
    reader = SettlementReader(queue(settings), "outbox", lambda event: None)
    thread = threading.Thread(target=reader.run)

    thread.start()

    try:
        eventually(lambda: "REDIS_PASSWORD" in caplog.text, 30, lambda: caplog.text)
    finally:
        reader.stop()
        thread.join()
    assert SECRET not in caplog.text
