"""MariaDB through TLS with an account that must show a certificate: who is not let in is told by the variable to look at."""

from __future__ import annotations

from pathlib import Path

import peewee
import pytest

from entities import base, database
from tests.support.mariadb_server import MariaDBServer
from tests.support.secure_servers import SECRET, SecureMariaDB
from worker.connections import database_config
from worker.failures import FailureKind, classify
from worker.settings import load_settings


def cipher(settings: dict[str, str]) -> str:
    """What the connection of these settings is encrypted with."""
    before = base.database.obj
    database.open_database(database_config(load_settings(settings, Path("/nowhere/.env"))))
    try:
        return str(database.execute("SHOW STATUS LIKE 'Ssl_cipher'").fetchone()[1])
    finally:
        database.close()
        base.database.obj = before


def outage(settings: dict[str, str]) -> str:
    """Why these settings are not let in; an outage, or the test fails."""
    with pytest.raises(peewee.PeeweeException) as caught:
        cipher(settings)
    failure = classify(caught.value)
    assert failure.kind is FailureKind.UNAVAILABLE
    return failure.reason


def test_an_account_that_shows_its_certificate_is_let_in_and_encrypted(secure_mariadb: SecureMariaDB) -> None:
    assert cipher(secure_mariadb.settings("mysql"))


def test_without_its_certificate_it_is_not(secure_mariadb: SecureMariaDB) -> None:
    reason = outage(secure_mariadb.settings("mysql") | {"DB_SSL_CERT": "", "DB_SSL_KEY": ""})

    assert "DB_SSL_CERT" in reason


def test_a_wrong_password_names_its_variable_and_not_itself(secure_mariadb: SecureMariaDB) -> None:
    reason = outage(secure_mariadb.settings("mysql") | {"DB_PASSWORD": SECRET + "-not"})

    assert "see DB_USER and DB_PASSWORD" in reason
    assert SECRET not in reason


def test_a_certificate_of_another_name_names_the_host(secure_mariadb: SecureMariaDB) -> None:
    assert "see DB_HOST" in outage(secure_mariadb.settings("mysql") | {"DB_HOST": "localhost"})


def test_an_unknown_authority_names_its_variable(secure_mariadb: SecureMariaDB) -> None:
    unknown = {"DB_SSL_CA": secure_mariadb.certificates.unknown_authority}

    assert "see DB_SSL_CA" in outage(secure_mariadb.settings("mysql") | unknown)


def test_a_server_without_tls_names_its_variable(mariadb: MariaDBServer) -> None:
    settings = {"DB_HOST": "127.0.0.1", "DB_PORT": str(mariadb.port), "DB_NAME": "mysql", "DB_SSL": "true"}

    assert "(see DB_SSL)" in outage(settings)


def test_an_unknown_database_names_its_variable(secure_mariadb: SecureMariaDB) -> None:
    assert "see DB_NAME" in outage(secure_mariadb.settings("nowhere"))
