"""MariaDB through TLS, with certificates made here: the right authority is let through, any other is told by its variable."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import peewee
import pytest

from entities import base, database
from tests.support.mariadb_server import MariaDBServer
from worker.connections import database_config
from worker.failures import FailureKind, classify
from worker.settings import load_settings


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_certificates(folder: Path) -> None:
    """`ca.pem` and `server.pem` with `server.key` signed by it for 127.0.0.1; `other.pem`, an authority of nobody."""
    for name in ("ca", "other"):
        subject = ["-subj", f"/CN={name}", "-days", "2"]
        extensions = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
        _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *extensions, *files)
    request = ["-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr"]
    _openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", *request)
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
    _openssl(folder, "x509", "-req", "-in", "server.csr", "-out", "server.pem", *signed)


class SecureMariaDB(MariaDBServer):
    """A server that shows a certificate."""

    def command(self) -> list[str]:
        return [*super().command(), f"--ssl-cert={self.folder}/server.pem", f"--ssl-key={self.folder}/server.key"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, the_mariadb: MariaDBServer) -> Iterator[SecureMariaDB]:
    folder = tmp_path_factory.mktemp("tls")
    make_certificates(folder)
    secure = SecureMariaDB(folder)
    secure.start()
    yield secure
    secure.kill()


def cipher(server: MariaDBServer, **environ: str) -> str:
    """What the connection of these settings is encrypted with."""
    settings = load_settings(
        {"DB_HOST": "127.0.0.1", "DB_PORT": str(server.port), "DB_NAME": "mysql", **environ}, Path("/nowhere/.env")
    )
    before = base.database.obj
    database.open_database(database_config(settings))
    try:
        return str(database.execute("SHOW STATUS LIKE 'Ssl_cipher'").fetchone()[1])
    finally:
        database.close()
        base.database.obj = before


def test_the_connection_is_encrypted_with_the_right_authority(server: SecureMariaDB) -> None:
    assert cipher(server, DB_SSL="true", DB_SSL_CA=str(server.folder / "ca.pem"))


def test_an_unknown_authority_is_an_outage_that_names_its_variable(server: SecureMariaDB) -> None:
    with pytest.raises(peewee.PeeweeException) as caught:
        cipher(server, DB_SSL="true", DB_SSL_CA=str(server.folder / "other.pem"))

    failure = classify(caught.value)
    assert failure.kind is FailureKind.UNAVAILABLE
    assert "see DB_SSL_CA" in failure.reason


def test_a_server_without_tls_is_an_outage_that_names_its_variable(mariadb: MariaDBServer) -> None:
    with pytest.raises(peewee.PeeweeException) as caught:
        cipher(mariadb, DB_SSL="true")

    failure = classify(caught.value)
    assert failure.kind is FailureKind.UNAVAILABLE
    assert "see DB_SSL" in failure.reason
