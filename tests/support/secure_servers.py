"""The three servers with certificates and accounts, beside the ways in that the tests' own clients use.

The account is `ACCOUNT` with `SECRET` everywhere.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.certificates import Certificates
from tests.support.kafka_server import KafkaServer
from tests.support.mariadb_server import MariaDBServer
from tests.support.redis_server import RedisServer
from tests.support.waiting import free_port

ACCOUNT = "writer"
SECRET = "Ein-geheimes-Wort-7"

#: Kafka's listeners beside the plain one. SASL_PLAINTEXT knows the mechanism PLAIN alone; SSL wants our certificate.
SECURE_LISTENERS = ("SASL_PLAINTEXT", "SASL_SSL", "SSL")

_SECURE_KAFKA = """
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port},{listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},{listeners}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_plaintext.sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config={plain}
listener.name.sasl_ssl.plain.sasl.jaas.config={plain}
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={scram}
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={scram}
listener.name.ssl.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
"""


class SecureKafka(KafkaServer):
    """A broker with all listeners of `SECURE_LISTENERS`; `bootstrap` stays the plain one."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        super().__init__(folder)
        self.certificates = certificates
        self._ports = {listener: free_port() for listener in SECURE_LISTENERS}

    def listener(self, name: str) -> str:
        """The value of KAFKA_BROKERS for this listener."""
        return f"127.0.0.1:{self._ports[name]}"

    def settings(self, listener: str, mechanism: str = "plain") -> dict[str, str]:
        """The variables of a client that is let in at this listener."""
        settings = {"KAFKA_BROKERS": self.listener(listener), "KAFKA_SECURITY_PROTOCOL": listener}
        if listener.startswith("SASL"):
            account = {"KAFKA_SASL_USERNAME": ACCOUNT, "KAFKA_SASL_PASSWORD": SECRET}
            settings |= {**account, "KAFKA_SASL_MECHANISM": mechanism}
        if listener.endswith("SSL"):
            settings["KAFKA_SSL_CA"] = self.certificates.authority
        if listener == "SSL":
            shown = {"KAFKA_SSL_CERT": self.certificates.client, "KAFKA_SSL_KEY": self.certificates.client_key}
            settings |= shown
        return settings

    def properties(self) -> str:
        keystore = self.folder / "keystore.pem"
        files = (self.certificates.server_key, self.certificates.server)
        keystore.write_text("".join(Path(file).read_text() for file in files))
        modules = "org.apache.kafka.common.security"
        return super().properties() + _SECURE_KAFKA.format(
            port=self.port,
            controller_port=self.controller_port,
            listeners=",".join(f"{name}://{self.listener(name)}" for name in SECURE_LISTENERS),
            plain=f'{modules}.plain.PlainLoginModule required user_{ACCOUNT}="{SECRET}";',
            scram=f"{modules}.scram.ScramLoginModule required;",
            keystore=keystore,
            authority=self.certificates.authority,
        )

    def format_options(self) -> list[str]:
        account = f"[name={ACCOUNT},password={SECRET}]"
        return [part for bits in (256, 512) for part in ("--add-scram", f"SCRAM-SHA-{bits}={account}")]


class SecureMariaDB(MariaDBServer):
    """A server that shows a certificate. The account must show ours."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        super().__init__(folder)
        self.certificates = certificates

    def command(self) -> list[str]:
        shown = [f"--ssl-cert={self.certificates.server}", f"--ssl-key={self.certificates.server_key}"]
        return [*super().command(), *shown, f"--ssl-ca={self.certificates.authority}"]

    def settings(self, database: str) -> dict[str, str]:
        """The variables of a client that is let in."""
        return {
            "DB_HOST": "127.0.0.1",
            "DB_PORT": str(self.port),
            "DB_NAME": database,
            "DB_USER": ACCOUNT,
            "DB_PASSWORD": SECRET,
            "DB_SSL": "true",
            "DB_SSL_CA": self.certificates.authority,
            "DB_SSL_CERT": self.certificates.client,
            "DB_SSL_KEY": self.certificates.client_key,
        }

    def create_account(self) -> None:
        self.execute(f"CREATE USER '{ACCOUNT}'@'%' IDENTIFIED BY '{SECRET}' REQUIRE X509")
        self.execute(f"GRANT ALL ON *.* TO '{ACCOUNT}'@'%'")


class SecureRedis(RedisServer):
    """A server with a port for TLS, where clients must show a certificate, and an ACL user beside the default one.

    `port` stays the plain one.
    """

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        super().__init__(folder)
        self.certificates = certificates
        self.tls_port = free_port()

    def command(self) -> list[str]:
        certificates = self.certificates
        shown = ["--tls-cert-file", certificates.server, "--tls-key-file", certificates.server_key]
        tls = ["--tls-port", str(self.tls_port), *shown, "--tls-ca-cert-file", certificates.authority]
        account = ["--user", ACCOUNT, "on", f">{SECRET}", "~*", "&*", "+@all"]
        return [*super().command(), *tls, *account]

    def settings(self) -> dict[str, str]:
        """The variables of a client that is let in at the port for TLS."""
        return {
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(self.tls_port),
            "REDIS_USERNAME": ACCOUNT,
            "REDIS_PASSWORD": SECRET,
            "REDIS_SSL": "true",
            "REDIS_SSL_CA": self.certificates.authority,
            "REDIS_SSL_CERT": self.certificates.client,
            "REDIS_SSL_KEY": self.certificates.client_key,
        }
