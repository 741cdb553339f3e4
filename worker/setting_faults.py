"""What is wrong between settings that are right one by one. Each fault names all variables that have a part in it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING

from redis.connection import parse_url

from worker.pem import Pair, has_certificates, has_key, pair

if TYPE_CHECKING:
    from worker.settings import Settings

#: Dramatiq holds a message back for seven days at most.
LONGEST_DELAY_MS = 7 * 24 * 3600 * 1000

#: The variables' names, and what is allowed.
Fault = tuple[tuple[str, ...], str]


def faults_between(settings: Settings) -> Iterator[Fault]:
    """All such faults."""
    yield from _cross_faults(settings)
    yield from _connection_faults(settings)


def is_loopback(host: str) -> bool:
    """Whether only programs of this host can reach this address. Names count only if they are `localhost`."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _cross_faults(settings: Settings) -> Iterator[Fault]:
    """Times, sizes, topics, the dashboard's address and the broker's place."""
    if settings.consumer_heartbeat_interval_ms * 3 > settings.consumer_session_timeout_ms:
        yield (
            ("CONSUMER_HEARTBEAT_INTERVAL", "CONSUMER_SESSION_TIMEOUT"),
            "allowed: a heartbeat interval of a third of the session timeout at most, so that one may be lost",
        )
    if settings.retry_delay_ms * 2 ** max(settings.max_retry_attempts - 1, 0) > LONGEST_DELAY_MS:
        yield (
            ("RETRY_DELAY_MS", "MAX_RETRY_ATTEMPTS"),
            "allowed: a last wait (the delay, doubled for each retry after the first) of seven days at most",
        )
    if settings.batch_max_operations > settings.window_max_operations:
        yield ("BATCH_MAX_OPERATIONS", "WINDOW_MAX_OPERATIONS"), "allowed: a batch no larger than the window"
    if settings.batch_max_bytes > settings.window_max_bytes:
        yield ("BATCH_MAX_BYTES", "WINDOW_MAX_BYTES"), "allowed: a batch no larger than the window"
    if settings.topic_dead_letters == settings.topic_db_operations:
        yield (
            ("TOPIC_DEAD_LETTERS", "TOPIC_DB_OPERATIONS"),
            "allowed: a topic of its own; dead letters would be read as operations again",
        )
    if settings.lease_ms < settings.db_read_timeout_ms:
        yield (
            ("LEASE_MS", "DB_READ_TIMEOUT"),
            "allowed: a lease as long as the timeout at least, or a batch that waits for the database is sent twice",
        )
    if not (settings.dashboard_user and settings.dashboard_password) and not is_loopback(settings.dashboard_host):
        yield (
            ("DASHBOARD_HOST", "DASHBOARD_USER", "DASHBOARD_PASSWORD"),
            "allowed: an address of this host alone, such as 127.0.0.1; for any other a user and a password",
        )
    elif bool(settings.dashboard_user) != bool(settings.dashboard_password):
        yield ("DASHBOARD_USER", "DASHBOARD_PASSWORD"), "allowed: both or none"
    if ":" in settings.dashboard_user:
        yield ("DASHBOARD_USER",), "allowed: text without a colon, which ends the name in HTTP's login"
    if _place(settings.broker_redis_url) == (settings.redis_host, settings.redis_port, settings.redis_db):
        yield (
            ("BROKER_REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_DB"),
            "allowed: a database of the broker's own; a flush of the cache would empty the queues",
        )


def _connection_faults(settings: Settings) -> Iterator[Fault]:
    """What is wrong between the settings of TLS and accounts."""
    for server, cert, key in (
        ("DB", settings.db_ssl_cert, settings.db_ssl_key),
        ("REDIS", settings.redis_ssl_cert, settings.redis_ssl_key),
        ("KAFKA", settings.kafka_ssl_cert, settings.kafka_ssl_key),
    ):
        names = (f"{server}_SSL_CERT", f"{server}_SSL_KEY")
        if bool(cert) != bool(key):
            yield names, "allowed: both a certificate and its key, or none"
            continue
        found = pair(cert, key) if cert else Pair.FITS
        if found is Pair.NO_KEY:
            yield names[1:], "allowed: a private key that OpenSSL can read, without a passphrase"
        elif found is Pair.DIFFERS:
            yield names, "allowed: a certificate and the key that belongs to it"
    if not settings.db_ssl and (settings.db_ssl_ca or settings.db_ssl_cert):
        yield ("DB_SSL", "DB_SSL_CA", "DB_SSL_CERT"), "allowed: files of TLS only with DB_SSL=true"
    if not settings.redis_ssl and (settings.redis_ssl_ca or settings.redis_ssl_cert):
        yield ("REDIS_SSL", "REDIS_SSL_CA", "REDIS_SSL_CERT"), "allowed: files of TLS only with REDIS_SSL=true"
    yield from _broker_url_faults(settings)
    protocol = settings.kafka_security_protocol
    if not protocol.endswith("ssl") and (settings.kafka_ssl_ca or settings.kafka_ssl_cert):
        yield (
            ("KAFKA_SECURITY_PROTOCOL", "KAFKA_SSL_CA", "KAFKA_SSL_CERT"),
            "allowed: files of TLS with ssl or sasl_ssl",
        )
    if protocol.startswith("sasl") != bool(settings.kafka_sasl_username):
        yield (
            ("KAFKA_SECURITY_PROTOCOL", "KAFKA_SASL_USERNAME"),
            "allowed: an account with sasl_plaintext or sasl_ssl, and none without",
        )


def _broker_url_faults(settings: Settings) -> Iterator[Fault]:
    """The files in the broker's URL, unless they are the cache's, which are told by their own variables."""
    parts = parse_url(settings.broker_redis_url)
    authority, cert, key = (parts.get(name, "") for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"))
    if authority and not has_certificates(authority):
        yield ("BROKER_REDIS_URL",), "allowed: in ssl_ca_certs the path of a file in PEM that holds certificates"
    if (cert, key) in (("", ""), (settings.redis_ssl_cert, settings.redis_ssl_key)):
        return
    if not (has_certificates(cert) and has_key(key) and pair(cert, key) is Pair.FITS):
        yield (
            ("BROKER_REDIS_URL",),
            "allowed: in ssl_certfile and ssl_keyfile a certificate and its key, without a passphrase",
        )


def _place(url: str) -> tuple[str, int, int] | None:
    parts = parse_url(url)
    if "path" in parts:  # unix://
        return None
    return parts.get("host", "localhost"), parts.get("port", 6379), parts.get("db", 0)
