"""How the settings say where Kafka is: the arguments that every client of it begins with."""

from __future__ import annotations

from typing import Any

from worker.connections import tls_context
from worker.settings import Settings


def kafka_arguments(settings: Settings) -> dict[str, Any]:
    """The keyword arguments of kafka-python that tell a client whom to connect to, and as whom."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(settings.kafka_brokers),
        "client_id": settings.kafka_client_id,
        "security_protocol": settings.kafka_security_protocol.upper(),
    }
    if settings.kafka_security_protocol.endswith("ssl"):
        arguments["ssl_context"] = tls_context(settings.kafka_ssl_ca, settings.kafka_ssl_cert, settings.kafka_ssl_key)
    if settings.kafka_security_protocol.startswith("sasl"):
        arguments["sasl_mechanism"] = settings.kafka_sasl_mechanism.upper()
        arguments["sasl_plain_username"] = settings.kafka_sasl_username
        arguments["sasl_plain_password"] = settings.kafka_sasl_password
    return arguments
