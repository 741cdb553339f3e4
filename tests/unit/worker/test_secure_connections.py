"""TLS and accounts: what the settings say reaches the clients, and what does not fit together is told at the start."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from redis.connection import parse_url

from tests.support.pem_files import write_pem_pair
from worker.connections import database_config
from worker.kafka_client import kafka_arguments
from worker.settings import FaultySettings, load_settings

NO_FILE = Path("/nowhere/.env")


def faults(**environ: str) -> str:
    with pytest.raises(FaultySettings) as caught:
        load_settings(environ, NO_FILE)
    return str(caught.value)


def test_without_them_nothing_is_encrypted() -> None:
    settings = load_settings({}, NO_FILE)

    assert database_config(settings).tls is None
    assert kafka_arguments(settings)["security_protocol"] == "PLAINTEXT"
    assert "ssl_context" not in kafka_arguments(settings)


def test_kafkas_account_and_mechanism_reach_its_clients() -> None:
    environ = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SASL_USERNAME": "writer",
        "KAFKA_SASL_PASSWORD": "hunter2hunter2",
    }

    settings = load_settings(environ, NO_FILE)

    arguments = kafka_arguments(settings)
    assert (arguments["security_protocol"], arguments["sasl_mechanism"]) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (arguments["sasl_plain_username"], arguments["sasl_plain_password"]) == ("writer", "hunter2hunter2")
    assert arguments["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert arguments["ssl_context"].check_hostname
    assert "hunter2hunter2" in settings.secrets
    assert "hunter2hunter2" not in repr(settings)


def test_the_database_is_verified_by_its_authority_and_name() -> None:
    tls = database_config(load_settings({"DB_SSL": "true"}, NO_FILE)).tls

    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_the_brokers_redis_is_reached_as_the_caches() -> None:
    environ = {"REDIS_SSL": "true", "REDIS_USERNAME": "writer", "REDIS_PASSWORD": "p@ss"}

    url = load_settings(environ, NO_FILE).broker_redis_url

    assert url.startswith("rediss://")
    parts = parse_url(url)
    assert (parts["username"], parts["password"], parts["db"]) == ("writer", "p@ss", 1)


def test_all_that_does_not_fit_together_is_told_at_once(tmp_path: Path) -> None:
    pem = write_pem_pair(tmp_path)

    told = faults(DB_SSL_CERT=pem.cert, KAFKA_SECURITY_PROTOCOL="sasl_ssl", REDIS_SSL_CA=pem.cert)

    assert "DB_SSL_CERT, DB_SSL_KEY" in told
    assert "KAFKA_SASL_USERNAME" in told
    assert "REDIS_SSL" in told


def test_an_unknown_mechanism_and_protocol_are_told() -> None:
    told = faults(KAFKA_SASL_MECHANISM="GSSAPI", KAFKA_SECURITY_PROTOCOL="tls")

    assert "KAFKA_SASL_MECHANISM" in told
    assert "KAFKA_SECURITY_PROTOCOL" in told
