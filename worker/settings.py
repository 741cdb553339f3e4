"""The settings: every environment variable with its default, its unit, its bounds and one line of help, said once.

They come from the environment, and what is missing there from a `.env` file in the current directory. A variable that
is empty counts as not set. All faults are told at once; none tells a value.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, cast
from urllib.parse import quote, urlencode

from environs import Env, EnvError, ValidationError
from redis.connection import parse_url

from worker.setting_faults import faults_between
from worker.setting_kinds import (
    Kind,
    boolean,
    broker_addresses,
    certificates_or_empty,
    choice,
    integer,
    kafka_name,
    kafka_name_or_empty,
    key_or_empty,
    log_level,
    redis_url_or_empty,
    shape,
    text,
)

#: The exit code of a program whose settings are faulty.
EXIT_FAULTY_SETTINGS = 2


@dataclass(frozen=True)
class Variable:
    """One environment variable, as the table below declares it."""

    name: str
    default: str
    kind: Kind
    help: str
    unit: str
    is_secret: bool


def _setting(name: str, default: str, kind: Kind, help: str, *, unit: str = "", is_secret: bool = False) -> Any:
    return field(repr=not is_secret, metadata={"variable": Variable(name, default, kind, help, unit, is_secret)})


@dataclass(frozen=True)
class Settings:
    """The settings, parsed and checked; also the table that they are read, described and checked by."""

    db_engine: Literal["mysql", "sqlite"] = _setting(
        "DB_ENGINE", "mysql", choice("mysql", "sqlite"), "mysql for MySQL or MariaDB; sqlite for the embedded run"
    )
    db_host: str = _setting("DB_HOST", "localhost", text(), "the database's host")
    db_port: int = _setting("DB_PORT", "3306", integer(1, 65535), "the database's port")
    db_user: str = _setting("DB_USER", "root", text(), "the database account")
    db_password: str = _setting("DB_PASSWORD", "", text(), "its password", is_secret=True)
    db_name: str = _setting("DB_NAME", "adelante_sumerce", text(), "the application's database; with sqlite a file")
    db_connect_timeout_ms: int = _setting(
        "DB_CONNECT_TIMEOUT", "3000", integer(100, 60_000), "how long connecting to the database may take", unit="ms"
    )
    db_read_timeout_ms: int = _setting(
        "DB_READ_TIMEOUT", "30000", integer(1000, 600_000), "how long the database may take to answer", unit="ms"
    )
    db_health_check_interval_ms: int = _setting(
        "DB_HEALTH_CHECK_INTERVAL", "10000", integer(100, 3_600_000), "pause between probes while it is up", unit="ms"
    )
    db_reconnect_interval_ms: int = _setting(
        "DB_RECONNECT_INTERVAL", "5000", integer(100, 3_600_000), "pause between probes while it is down", unit="ms"
    )

    db_ssl: bool = _setting("DB_SSL", "false", boolean(), "whether the database is reached through TLS")
    db_ssl_ca: str = _setting(
        "DB_SSL_CA",
        "",
        certificates_or_empty(),
        "the authority that signed the database's certificate; empty = the system's",
    )
    db_ssl_cert: str = _setting(
        "DB_SSL_CERT", "", certificates_or_empty(), "our own certificate, if the account asks for one"
    )
    db_ssl_key: str = _setting("DB_SSL_KEY", "", key_or_empty(), "its key")

    redis_host: str = _setting("REDIS_HOST", "localhost", text(), "the host of the cache's Redis")
    redis_port: int = _setting("REDIS_PORT", "6379", integer(1, 65535), "its port")
    redis_username: str = _setting("REDIS_USERNAME", "", text(), "its ACL user; empty = the default one")
    redis_password: str = _setting("REDIS_PASSWORD", "", text(), "its password", is_secret=True)
    redis_db: int = _setting("REDIS_DB", "0", integer(0, 65535), "the database of the cache in it")
    redis_ssl: bool = _setting("REDIS_SSL", "false", boolean(), "whether it is reached through TLS")
    redis_ssl_ca: str = _setting(
        "REDIS_SSL_CA", "", certificates_or_empty(), "the authority that signed its certificate; empty = the system's"
    )
    redis_ssl_cert: str = _setting(
        "REDIS_SSL_CERT",
        "",
        certificates_or_empty(),
        "our own certificate, which Redis asks for unless it is told not to",
    )
    redis_ssl_key: str = _setting("REDIS_SSL_KEY", "", key_or_empty(), "its key")
    broker_redis_url: str = _setting(
        "BROKER_REDIS_URL",
        "",
        redis_url_or_empty(),
        "the Redis of the Dramatiq broker; empty = database 1 of the cache's Redis",
        is_secret=True,
    )

    kafka_brokers: tuple[str, ...] = _setting(
        "KAFKA_BROKERS", "localhost:9092", broker_addresses(), "the Kafka brokers to begin with"
    )
    kafka_security_protocol: str = _setting(
        "KAFKA_SECURITY_PROTOCOL",
        "plaintext",
        choice("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"),
        "how the brokers are spoken to",
    )
    kafka_sasl_mechanism: str = _setting(
        "KAFKA_SASL_MECHANISM",
        "plain",
        choice("plain", "scram-sha-256", "scram-sha-512"),
        "how the account is proved, with sasl_plaintext and sasl_ssl",
    )
    kafka_sasl_username: str = _setting("KAFKA_SASL_USERNAME", "", text(), "the account")
    kafka_sasl_password: str = _setting("KAFKA_SASL_PASSWORD", "", text(), "its password", is_secret=True)
    kafka_ssl_ca: str = _setting(
        "KAFKA_SSL_CA",
        "",
        certificates_or_empty(),
        "the authority that signed the brokers' certificates; empty = the system's",
    )
    kafka_ssl_cert: str = _setting(
        "KAFKA_SSL_CERT", "", certificates_or_empty(), "our own certificate, if the brokers ask for one"
    )
    kafka_ssl_key: str = _setting("KAFKA_SSL_KEY", "", key_or_empty(), "its key")
    kafka_client_id: str = _setting("KAFKA_CLIENT_ID", "database-consumer", text(), "our name in Kafka's logs")
    kafka_group_id: str = _setting("KAFKA_GROUP_ID", "database-writer-group", text(), "the consumer group")
    kafka_group_instance_id: str = _setting(
        "KAFKA_GROUP_INSTANCE_ID",
        "",
        kafka_name_or_empty(),
        "this member's fixed name in the group; empty = the outbox's identity",
    )
    topic_db_operations: str = _setting(
        "TOPIC_DB_OPERATIONS", "db-operations-buffer", kafka_name(), "the topic of the operations"
    )
    topic_dead_letters: str = _setting(
        "TOPIC_DEAD_LETTERS",
        "",
        kafka_name_or_empty(),
        "a topic that is told of each dead letter, payload and all; empty = none is",
    )
    consumer_session_timeout_ms: int = _setting(
        "CONSUMER_SESSION_TIMEOUT",
        "30000",
        integer(1000, 1_800_000),
        "silence after which Kafka gives the partitions away",
        unit="ms",
    )
    consumer_heartbeat_interval_ms: int = _setting(
        "CONSUMER_HEARTBEAT_INTERVAL", "3000", integer(100, 600_000), "pause between heartbeats to Kafka", unit="ms"
    )
    partition_buffer_records: int = _setting(
        "PARTITION_BUFFER_RECORDS",
        "5000",
        integer(1, 1_000_000),
        "how far a partition may run ahead of the others before it is paused",
        unit="records",
    )

    max_retry_attempts: int = _setting(
        "MAX_RETRY_ATTEMPTS", "5", integer(0, 100), "retries of a failing operation before it is a dead letter"
    )
    retry_delay_ms: int = _setting(
        "RETRY_DELAY_MS",
        "5000",
        integer(1, 3_600_000),
        "wait before the first retry; each next one doubles it",
        unit="ms",
    )
    unknown_attributes: Literal["refuse", "ignore"] = _setting(
        "UNKNOWN_ATTRIBUTES",
        "refuse",
        choice("refuse", "ignore"),
        "what becomes of an attribute that the entity does not have",
    )
    dead_letter_policy: Literal["pass", "hold"] = _setting(
        "DEAD_LETTER_POLICY",
        "pass",
        choice("pass", "hold"),
        "what follows a dead letter on its row goes on, or is held until you replay or discard it",
    )
    cache_secrets: bool = _setting(
        "CACHE_SECRETS", "false", boolean(), "whether the cache may hold secret attributes (passwordHash)"
    )

    outbox_path: str = _setting("OUTBOX_PATH", "var/outbox.sqlite3", text(), "the outbox's file, on a local disk")
    outbox_max_pending: int = _setting(
        "OUTBOX_MAX_PENDING",
        "10000000",
        integer(1, 1_000_000_000),
        "unfinished operations at which reading from Kafka pauses",
        unit="operations",
    )
    outbox_retention_hours: int = _setting(
        "OUTBOX_RETENTION_HOURS", "24", integer(0, 87_600), "how long the outbox keeps what was applied", unit="hours"
    )
    ledger_retention_days: int = _setting(
        "LEDGER_RETENTION_DAYS",
        "30",
        integer(1, 3650),
        "how long the database keeps what was settled, at least; duplicates are recognised for as long",
        unit="days",
    )

    max_in_flight_batches: int = _setting(
        "MAX_IN_FLIGHT_BATCHES", "8", integer(1, 1000), "batches under way at once", unit="batches"
    )
    batch_max_operations: int = _setting(
        "BATCH_MAX_OPERATIONS", "500", integer(1, 10_000), "operations in a batch at most", unit="operations"
    )
    batch_max_bytes: int = _setting(
        "BATCH_MAX_BYTES",
        "1000000",
        integer(1000, 16_000_000),
        "bytes in a batch at most, unless one operation is bigger",
        unit="bytes",
    )
    window_max_operations: int = _setting(
        "WINDOW_MAX_OPERATIONS",
        "10000",
        integer(1, 1_000_000),
        "unfinished operations that the scheduler looks at together",
        unit="operations",
    )
    window_max_bytes: int = _setting(
        "WINDOW_MAX_BYTES", "64000000", integer(1000, 4_000_000_000), "the same in bytes", unit="bytes"
    )
    lease_ms: int = _setting(
        "LEASE_MS",
        "60000",
        integer(1000, 86_400_000),
        "silence after which a batch that was picked up is sent again",
        unit="ms",
    )
    reconcile_interval_ms: int = _setting(
        "RECONCILE_INTERVAL_MS",
        "5000",
        integer(50, 3_600_000),
        "pause between comparisons of what is in flight with what Redis holds",
        unit="ms",
    )

    dashboard_host: str = _setting("DASHBOARD_HOST", "127.0.0.1", text(), "the address the dashboard listens on")
    dashboard_port: int = _setting("DASHBOARD_PORT", "8080", integer(0, 65535), "its port; 0 = any free one")
    dashboard_user: str = _setting(
        "DASHBOARD_USER", "", text(), "who may open the dashboard; required where it listens beyond this host"
    )
    dashboard_password: str = _setting(
        "DASHBOARD_PASSWORD", "", text(), "the password asked for; empty = none is, on this host alone", is_secret=True
    )
    metrics_host: str = _setting(
        "METRICS_HOST", "127.0.0.1", text(), "the address ingest and the actors serve their numbers on"
    )
    metrics_port: int = _setting(
        "METRICS_PORT", "9108", integer(0, 65535), "ingest's port for /metrics, /healthz and /readyz; 0 = none"
    )
    actors_metrics_port: int = _setting(
        "ACTORS_METRICS_PORT",
        "0",
        integer(0, 65535),
        "the actors' port for /metrics; 0 = none. Each dramatiq command on a host needs one of its own",
    )
    log_level: int = _setting("LOG_LEVEL", "info", log_level(), "the least important lines that are written")
    log_dir: str = _setting("LOG_DIR", "logs", text(), "the folder of combined.log and error.log")
    status_interval_ms: int = _setting(
        "STATUS_INTERVAL_MS", "60000", integer(100, 86_400_000), "pause between status lines", unit="ms"
    )
    node_env: str = _setting(
        "NODE_ENV", "development", text(), "the application's environment name, for the status line"
    )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The passwords among the settings, for the logs to mask."""
        in_url = parse_url(self.broker_redis_url).get("password")
        given = (self.db_password, self.redis_password, self.kafka_sasl_password, self.dashboard_password, in_url)
        return tuple(secret for secret in given if secret)


class FaultySettings(Exception):
    """Settings that will not do. `faults`: a line for each, with variable, shape found, what is allowed."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def variables() -> tuple[Variable, ...]:
    """Every variable, in the order of the table."""
    return tuple(_variable(declared) for declared in fields(Settings))


def load_settings(environ: Mapping[str, str] | None = None, env_file: Path | None = None) -> Settings:
    """The settings from the environment and a `.env` file; the environment wins.

    Parameters:
      environ: stands in for the environment.
      env_file: stands in for `.env` in the current directory; it need not be there.

    Raises:
      FaultySettings: with all faults.
    """
    env = _Environment(os.environ if environ is None else environ)
    path = Path(".env") if env_file is None else env_file
    faults: dict[str, str] = {}
    try:
        env.read_env(path, recurse=False)
    except (OSError, ValueError) as error:
        faults[str(path)] = f"cannot be read as text in UTF-8 ({type(error).__name__})"

    values: dict[str, Any] = {}
    for declared in fields(Settings):
        variable = _variable(declared)
        try:
            values[declared.name] = variable.kind.read(env, variable.name)
        except (EnvError, ValidationError):
            faults[variable.name] = f"found {shape(env.str(variable.name))}; allowed: {variable.kind.allowed}"
            values[declared.name] = variable.kind.read(_Environment({}), variable.name)

    values["broker_redis_url"] = values["broker_redis_url"] or _default_broker_url(values)
    settings = Settings(**values)
    for names, fault in faults_between(settings):
        if faults.keys().isdisjoint(names):
            faults[", ".join(names)] = fault
    if faults:
        raise FaultySettings([f"{names}: {fault}" for names, fault in faults.items()])
    return settings


def settings_or_exit() -> Settings:
    """The settings, for a program's first step: with faulty ones it prints all faults and exits with code 2."""
    try:
        return load_settings()
    except FaultySettings as error:
        _exit(error.faults)


def describe_settings(*, as_markdown: bool = False) -> str:
    """All variables with default, unit, bounds and help: lines for a terminal, or a table for the README."""
    if as_markdown:
        rows = ["| variable | default | what it is | allowed |", "|---|---|---|---|"]
        for variable in variables():
            default = f"`{variable.default}`" if variable.default else "(empty)"
            unit = f" {variable.unit}" if variable.unit else ""
            rows.append(f"| `{variable.name}` | {default}{unit} | {variable.help} | {variable.kind.allowed} |")
        return "\n".join(rows)

    width = max(len(variable.name) for variable in variables())
    lines = ["settings, from the environment or from .env in the current directory:"]
    for variable in variables():
        default = f"{variable.default or '(empty)'} {variable.unit}".rstrip()
        lines.append(f"  {variable.name:<{width}}  {variable.help} [{default}]; {variable.kind.allowed}")
    return "\n".join(lines)


class _Environment(Env):
    """environs over a given mapping instead of `os.environ`, where an empty variable has its default."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__()
        self._given = environ
        self._defaults = {variable.name: variable.default for variable in variables()}

    def _get_value(self, env_key: str, default: Any) -> Any:
        value = self._given.get(env_key, self._environ.get(env_key, ""))
        return value if value.strip() else self._defaults[env_key]


def _variable(declared: Field[Any]) -> Variable:
    return cast(Variable, declared.metadata["variable"])


def _default_broker_url(values: Mapping[str, Any]) -> str:
    username, password = (quote(values[name], safe="") for name in ("redis_username", "redis_password"))
    credentials = f"{username}:{password}@" if username or password else ""
    host = f"[{values['redis_host']}]" if ":" in values["redis_host"] else values["redis_host"]
    scheme = "rediss" if values["redis_ssl"] else "redis"
    shown = {"ssl_ca_certs": "redis_ssl_ca", "ssl_certfile": "redis_ssl_cert", "ssl_keyfile": "redis_ssl_key"}
    files = {argument: values[name] for argument, name in shown.items() if values["redis_ssl"] and values[name]}
    return f"{scheme}://{credentials}{host}:{values['redis_port']}/1{'?' if files else ''}{urlencode(files)}"


def _exit(faults: list[str]) -> NoReturn:
    print("The settings will not do:", *(f"  {fault}" for fault in faults), sep="\n", file=sys.stderr)
    raise SystemExit(EXIT_FAULTY_SETTINGS)
