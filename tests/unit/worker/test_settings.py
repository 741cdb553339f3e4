from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.support.pem_files import PemPair, write_pem_pair
from worker.setting_kinds import shape
from worker.settings import FaultySettings, Settings, describe_settings, load_settings, settings_or_exit, variables

NOWHERE = Path("/nowhere/.env")

#: The table of the application: names and defaults are fixed.
FIXED_DEFAULTS = {
    "DB_HOST": "localhost",
    "DB_PORT": "3306",
    "DB_USER": "root",
    "DB_PASSWORD": "",
    "DB_NAME": "adelante_sumerce",
    "REDIS_HOST": "localhost",
    "REDIS_PORT": "6379",
    "REDIS_PASSWORD": "",
    "REDIS_DB": "0",
    "LOG_LEVEL": "info",
    "NODE_ENV": "development",
    "KAFKA_BROKERS": "localhost:9092",
    "KAFKA_CLIENT_ID": "database-consumer",
    "KAFKA_GROUP_ID": "database-writer-group",
    "TOPIC_DB_OPERATIONS": "db-operations-buffer",
    "CONSUMER_SESSION_TIMEOUT": "30000",
    "CONSUMER_HEARTBEAT_INTERVAL": "3000",
    "MAX_RETRY_ATTEMPTS": "5",
    "RETRY_DELAY_MS": "5000",
    "DB_HEALTH_CHECK_INTERVAL": "10000",
    "DB_RECONNECT_INTERVAL": "5000",
}

#: Files in PEM, which a test puts in.
CERT, KEY = "{cert}", "{key}"

#: What some variables are refused without.
NEEDED = {
    "DASHBOARD_USER": {"DASHBOARD_PASSWORD": "geheim"},
    "DASHBOARD_PASSWORD": {"DASHBOARD_USER": "ana"},
    "DB_SSL_CA": {"DB_SSL": "true"},
    "DB_SSL_CERT": {"DB_SSL": "true", "DB_SSL_KEY": KEY},
    "DB_SSL_KEY": {"DB_SSL": "true", "DB_SSL_CERT": CERT},
    "REDIS_SSL_CA": {"REDIS_SSL": "true"},
    "REDIS_SSL_CERT": {"REDIS_SSL": "true", "REDIS_SSL_KEY": KEY},
    "REDIS_SSL_KEY": {"REDIS_SSL": "true", "REDIS_SSL_CERT": CERT},
    "KAFKA_SECURITY_PROTOCOL": {"KAFKA_SASL_USERNAME": "writer"},
    "KAFKA_SASL_USERNAME": {"KAFKA_SECURITY_PROTOCOL": "sasl_ssl"},
    "KAFKA_SSL_CA": {"KAFKA_SECURITY_PROTOCOL": "ssl"},
    "KAFKA_SSL_CERT": {"KAFKA_SECURITY_PROTOCOL": "ssl", "KAFKA_SSL_KEY": KEY},
    "KAFKA_SSL_KEY": {"KAFKA_SECURITY_PROTOCOL": "ssl", "KAFKA_SSL_CERT": CERT},
}

#: For each variable a value that is not its default, and the attribute with its parsed value.
ANOTHER_VALUE: dict[str, tuple[str, str, Any]] = {
    "DB_SSL": ("true", "db_ssl", True),
    "DB_SSL_CA": (CERT, "db_ssl_ca", CERT),
    "DB_SSL_CERT": (CERT, "db_ssl_cert", CERT),
    "DB_SSL_KEY": (KEY, "db_ssl_key", KEY),
    "REDIS_USERNAME": ("writer", "redis_username", "writer"),
    "REDIS_SSL": ("true", "redis_ssl", True),
    "REDIS_SSL_CA": (CERT, "redis_ssl_ca", CERT),
    "REDIS_SSL_CERT": (CERT, "redis_ssl_cert", CERT),
    "REDIS_SSL_KEY": (KEY, "redis_ssl_key", KEY),
    "KAFKA_SECURITY_PROTOCOL": ("SASL_SSL", "kafka_security_protocol", "sasl_ssl"),
    "KAFKA_SASL_MECHANISM": ("SCRAM-SHA-256", "kafka_sasl_mechanism", "scram-sha-256"),
    "KAFKA_SASL_USERNAME": ("writer", "kafka_sasl_username", "writer"),
    "KAFKA_SASL_PASSWORD": ("geheim", "kafka_sasl_password", "geheim"),
    "KAFKA_SSL_CA": (CERT, "kafka_ssl_ca", CERT),
    "KAFKA_SSL_CERT": (CERT, "kafka_ssl_cert", CERT),
    "KAFKA_SSL_KEY": (KEY, "kafka_ssl_key", KEY),
    "DB_ENGINE": ("SQLite", "db_engine", "sqlite"),
    "DB_HOST": ("db.example", "db_host", "db.example"),
    "DB_PORT": ("3307", "db_port", 3307),
    "DB_USER": ("writer", "db_user", "writer"),
    "DB_PASSWORD": ("pa ss$word", "db_password", "pa ss$word"),
    "DB_NAME": ("other", "db_name", "other"),
    "DB_CONNECT_TIMEOUT": ("500", "db_connect_timeout_ms", 500),
    "DB_READ_TIMEOUT": ("1000", "db_read_timeout_ms", 1000),
    "DB_HEALTH_CHECK_INTERVAL": ("200", "db_health_check_interval_ms", 200),
    "DB_RECONNECT_INTERVAL": ("300", "db_reconnect_interval_ms", 300),
    "REDIS_HOST": ("cache.example", "redis_host", "cache.example"),
    "REDIS_PORT": ("6380", "redis_port", 6380),
    "REDIS_PASSWORD": ("geheim", "redis_password", "geheim"),
    "REDIS_DB": ("2", "redis_db", 2),
    "BROKER_REDIS_URL": ("redis://h:1/3", "broker_redis_url", "redis://h:1/3"),
    "KAFKA_BROKERS": ("a:1, [::1]:9092", "kafka_brokers", ("a:1", "[::1]:9092")),
    "KAFKA_CLIENT_ID": ("me", "kafka_client_id", "me"),
    "KAFKA_GROUP_ID": ("us", "kafka_group_id", "us"),
    "KAFKA_GROUP_INSTANCE_ID": ("host-1", "kafka_group_instance_id", "host-1"),
    "TOPIC_DB_OPERATIONS": ("ops", "topic_db_operations", "ops"),
    "TOPIC_DEAD_LETTERS": ("dead", "topic_dead_letters", "dead"),
    "CONSUMER_SESSION_TIMEOUT": ("10000", "consumer_session_timeout_ms", 10_000),
    "CONSUMER_HEARTBEAT_INTERVAL": ("1000", "consumer_heartbeat_interval_ms", 1000),
    "PARTITION_BUFFER_RECORDS": ("10", "partition_buffer_records", 10),
    "MAX_RETRY_ATTEMPTS": ("0", "max_retry_attempts", 0),
    "RETRY_DELAY_MS": ("50", "retry_delay_ms", 50),
    "UNKNOWN_ATTRIBUTES": ("ignore", "unknown_attributes", "ignore"),
    "DEAD_LETTER_POLICY": ("hold", "dead_letter_policy", "hold"),
    "CACHE_SECRETS": ("true", "cache_secrets", True),
    "OUTBOX_PATH": ("/tmp/o", "outbox_path", "/tmp/o"),
    "OUTBOX_MAX_PENDING": ("100", "outbox_max_pending", 100),
    "OUTBOX_RETENTION_HOURS": ("1", "outbox_retention_hours", 1),
    "LEDGER_RETENTION_DAYS": ("7", "ledger_retention_days", 7),
    "MAX_IN_FLIGHT_BATCHES": ("1", "max_in_flight_batches", 1),
    "BATCH_MAX_OPERATIONS": ("1", "batch_max_operations", 1),
    "BATCH_MAX_BYTES": ("1000", "batch_max_bytes", 1000),
    "WINDOW_MAX_OPERATIONS": ("500", "window_max_operations", 500),
    "WINDOW_MAX_BYTES": ("1000000", "window_max_bytes", 1_000_000),
    "LEASE_MS": ("30000", "lease_ms", 30_000),
    "RECONCILE_INTERVAL_MS": ("100", "reconcile_interval_ms", 100),
    "DASHBOARD_HOST": ("::1", "dashboard_host", "::1"),
    "DASHBOARD_PORT": ("0", "dashboard_port", 0),
    "DASHBOARD_USER": ("ana", "dashboard_user", "ana"),
    "DASHBOARD_PASSWORD": ("geheim", "dashboard_password", "geheim"),
    "METRICS_HOST": ("0.0.0.0", "metrics_host", "0.0.0.0"),
    "METRICS_PORT": ("0", "metrics_port", 0),
    "ACTORS_METRICS_PORT": ("9109", "actors_metrics_port", 9109),
    "LOG_LEVEL": ("WARN", "log_level", logging.WARNING),
    "LOG_DIR": ("/tmp/l", "log_dir", "/tmp/l"),
    "STATUS_INTERVAL_MS": ("1000", "status_interval_ms", 1000),
    "NODE_ENV": ("production", "node_env", "production"),
}

#: For each variable that refuses anything, values that it refuses.
REFUSED = {
    "DB_ENGINE": ["postgres"],
    "DB_PORT": ["0", "65536", "x", "3306.5"],
    "DB_CONNECT_TIMEOUT": ["99", "60001", "3s"],
    "DB_READ_TIMEOUT": ["999", "600001"],
    "DB_HEALTH_CHECK_INTERVAL": ["99", "3600001"],
    "DB_RECONNECT_INTERVAL": ["99", "3600001"],
    "REDIS_PORT": ["0", "65536"],
    "REDIS_DB": ["-1", "65536", "cache"],
    "BROKER_REDIS_URL": ["http://h", "localhost:6379", "redis://h:port"],
    "KAFKA_BROKERS": ["localhost", "a:1,,b:2", "a:0", "a:65536", "a b:1"],
    "KAFKA_GROUP_INSTANCE_ID": ["a b", "a" * 250],
    "TOPIC_DB_OPERATIONS": ["a/b", "a" * 250],
    "TOPIC_DEAD_LETTERS": ["a/b", "a" * 250],
    "CONSUMER_SESSION_TIMEOUT": ["999", "1800001"],
    "CONSUMER_HEARTBEAT_INTERVAL": ["99", "600001"],
    "PARTITION_BUFFER_RECORDS": ["0", "1000001"],
    "MAX_RETRY_ATTEMPTS": ["-1", "101"],
    "RETRY_DELAY_MS": ["0", "3600001"],
    "UNKNOWN_ATTRIBUTES": ["drop"],
    "DEAD_LETTER_POLICY": ["wait"],
    "CACHE_SECRETS": ["maybe"],
    "OUTBOX_MAX_PENDING": ["0", "1000000001"],
    "OUTBOX_RETENTION_HOURS": ["-1", "87601"],
    "LEDGER_RETENTION_DAYS": ["0", "3651"],
    "MAX_IN_FLIGHT_BATCHES": ["0", "1001"],
    "BATCH_MAX_OPERATIONS": ["0", "10001"],
    "BATCH_MAX_BYTES": ["999", "16000001"],
    "WINDOW_MAX_OPERATIONS": ["0", "1000001"],
    "WINDOW_MAX_BYTES": ["999", "4000000001"],
    "LEASE_MS": ["999", "86400001"],
    "RECONCILE_INTERVAL_MS": ["49", "3600001"],
    "METRICS_PORT": ["-1", "65536", "x"],
    "ACTORS_METRICS_PORT": ["-1", "65536", "x"],
    "DASHBOARD_PORT": ["-1", "65536"],
    "LOG_LEVEL": ["loud", "20"],
    "STATUS_INTERVAL_MS": ["99", "86400001"],
}


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> PemPair:
    return write_pem_pair(tmp_path_factory.mktemp("pem"))


def put_in(value: Any, pem: PemPair) -> Any:
    return value.format(cert=pem.cert, key=pem.key) if value in (CERT, KEY) else value


def loaded(**environ: str) -> Settings:
    return load_settings(environ, NOWHERE)


def faults_of(**environ: str) -> list[str]:
    with pytest.raises(FaultySettings) as caught:
        loaded(**environ)
    return caught.value.faults


def test_the_defaults_are_the_applications() -> None:
    defaults = {variable.name: variable.default for variable in variables()}

    assert {name: defaults[name] for name in FIXED_DEFAULTS} == FIXED_DEFAULTS


def test_the_defaults_pass_their_own_checks() -> None:
    settings = loaded()

    assert (settings.db_port, settings.kafka_brokers, settings.log_level) == (3306, ("localhost:9092",), logging.INFO)


@pytest.mark.parametrize("name", [variable.name for variable in variables()])
def test_a_variable_is_read_into_its_attribute(name: str, pem: PemPair) -> None:
    value, attribute, parsed = (put_in(one, pem) for one in ANOTHER_VALUE[name])

    settings = loaded(**{name: value}, **{other: put_in(needed, pem) for other, needed in NEEDED.get(name, {}).items()})

    assert getattr(settings, attribute) == parsed
    assert getattr(loaded(), attribute) != parsed


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values])
def test_a_value_that_will_not_do_is_refused_with_its_variable_and_what_is_allowed(name: str, value: str) -> None:
    (fault,) = faults_of(**{name: value})

    assert fault.startswith(f"{name}: found ")
    assert "allowed: " in fault


@pytest.mark.parametrize("name", [variable.name for variable in variables()])
def test_an_empty_variable_counts_as_not_set(name: str) -> None:
    assert loaded(**{name: ""}) == loaded()


def test_all_faults_are_told_at_once() -> None:
    faults = faults_of(DB_PORT="x", REDIS_PORT="0", LOG_LEVEL="loud", CONSUMER_HEARTBEAT_INTERVAL="29000")

    assert [fault.split(":")[0] for fault in faults] == [
        "DB_PORT",
        "REDIS_PORT",
        "LOG_LEVEL",
        "CONSUMER_HEARTBEAT_INTERVAL, CONSUMER_SESSION_TIMEOUT",
    ]


def test_a_fault_never_tells_the_value() -> None:
    told = "\n".join(faults_of(DB_PORT="hunter2", BROKER_REDIS_URL="http://:hunter2@host", KAFKA_BROKERS="hunter2"))

    assert "hunter2" not in told
    assert "found text of 7 characters" in told


def test_the_repr_hides_passwords() -> None:
    settings = loaded(
        DB_PASSWORD="hunter2",
        REDIS_PASSWORD="hunter3",
        KAFKA_SECURITY_PROTOCOL="sasl_ssl",
        KAFKA_SASL_USERNAME="ana",
        KAFKA_SASL_PASSWORD="hunter4",
        DASHBOARD_USER="ana",
        DASHBOARD_PASSWORD="hunter5",
        BROKER_REDIS_URL="redis://:hunter6@h",
    )

    assert "hunter" not in repr(settings)
    assert settings.secrets == ("hunter2", "hunter3", "hunter4", "hunter5", "hunter6")


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({"CONSUMER_SESSION_TIMEOUT": "8000"}, "CONSUMER_HEARTBEAT_INTERVAL, CONSUMER_SESSION_TIMEOUT"),
        ({"MAX_RETRY_ATTEMPTS": "18"}, "RETRY_DELAY_MS, MAX_RETRY_ATTEMPTS"),
        ({"DASHBOARD_HOST": "0.0.0.0"}, "DASHBOARD_HOST, DASHBOARD_USER, DASHBOARD_PASSWORD"),
        (
            {"DASHBOARD_HOST": "dashboard.example", "DASHBOARD_USER": "ana"},
            "DASHBOARD_HOST, DASHBOARD_USER, DASHBOARD_PASSWORD",
        ),
        ({"DASHBOARD_PASSWORD": "geheim"}, "DASHBOARD_USER, DASHBOARD_PASSWORD"),
        ({"DASHBOARD_USER": "a:b", "DASHBOARD_PASSWORD": "geheim"}, "DASHBOARD_USER"),
        (
            {"BATCH_MAX_OPERATIONS": "10000", "WINDOW_MAX_OPERATIONS": "9999"},
            "BATCH_MAX_OPERATIONS, WINDOW_MAX_OPERATIONS",
        ),
        ({"WINDOW_MAX_BYTES": "999999"}, "BATCH_MAX_BYTES, WINDOW_MAX_BYTES"),
        ({"LEASE_MS": "29999"}, "LEASE_MS, DB_READ_TIMEOUT"),
        ({"TOPIC_DEAD_LETTERS": "db-operations-buffer"}, "TOPIC_DEAD_LETTERS, TOPIC_DB_OPERATIONS"),
        ({"REDIS_DB": "1"}, "BROKER_REDIS_URL, REDIS_HOST, REDIS_PORT, REDIS_DB"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_together(environ: dict[str, str], names: str) -> None:
    (fault,) = faults_of(**environ)

    assert fault.startswith(f"{names}: allowed: ")


def test_the_broker_takes_the_caches_server_unless_it_is_told_another() -> None:
    assert loaded().broker_redis_url == "redis://localhost:6379/1"
    assert loaded(REDIS_PASSWORD="a:/@b").broker_redis_url == "redis://:a%3A%2F%40b@localhost:6379/1"
    assert loaded(REDIS_HOST="::1").broker_redis_url == "redis://[::1]:6379/1"


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("error", logging.ERROR),
        ("warn", logging.WARNING),
        ("info", logging.INFO),
        ("http", logging.INFO),
        ("verbose", logging.INFO),
        ("debug", logging.DEBUG),
        ("silly", 5),
        ("WARNING", logging.WARNING),
        ("Critical", logging.CRITICAL),
        ("ERROR", logging.ERROR),
    ],
)
def test_log_levels_have_nodes_names_and_pythons(name: str, level: int) -> None:
    assert loaded(LOG_LEVEL=name).log_level == level


def test_a_file_stands_in_for_what_the_environment_lacks(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("DB_HOST=from-file\nDB_USER=from-file\n# a comment\nDB_PASSWORD='qu oted'\n")

    settings = load_settings({"DB_USER": "from-environment"}, env_file)

    assert (settings.db_host, settings.db_user, settings.db_password) == ("from-file", "from-environment", "qu oted")


def test_the_file_is_looked_for_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("DB_NAME=here\n")
    monkeypatch.chdir(tmp_path)

    assert load_settings({}).db_name == "here"


def test_a_file_that_is_no_text_is_a_fault(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_bytes(b"DB_HOST=\xff\xfe\n")

    with pytest.raises(FaultySettings, match="cannot be read"):
        load_settings({}, env_file)


def test_a_program_with_faulty_settings_ends_with_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DB_PORT", "no port")

    with pytest.raises(SystemExit) as caught:
        settings_or_exit()

    assert caught.value.code == 2
    assert "DB_PORT: found text of 7 characters" in capsys.readouterr().err


@pytest.mark.parametrize("as_markdown", [True, False])
def test_the_description_has_every_variable(as_markdown: bool) -> None:
    described = describe_settings(as_markdown=as_markdown)

    for variable in variables():
        assert variable.name in described
        assert variable.help in described


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("x", "text of 1 character"),
        ("70000", "a whole number of 5 digits"),
        ("-7", "a negative whole number of 1 digit"),
        ("1.5", "a number with a fraction"),
    ],
)
def test_the_shape_of_a_value(value: str, told: str) -> None:
    assert shape(value) == told
