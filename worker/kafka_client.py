"""How the settings say where Kafka is: the arguments that every client of it begins with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from kafka.errors import KafkaError

from worker.kafka_probe import why_refused
from worker.settings import Settings
from worker.tls import tls_context

T = TypeVar("T")


class KafkaUnreachable(KafkaError):  # type: ignore[misc]
    """No broker lets us in; the text says why and names the variable to look at."""

    retriable = True


def connected(client: Callable[..., T], settings: Settings, **options: Any) -> T:
    """A client of kafka-python's, connected as the settings say.

    Parameters:
      client: KafkaConsumer or KafkaProducer.
      options: its own, besides whom to connect to.

    Raises:
      KafkaError: `KafkaUnreachable` above all. What is wrong in a mechanism's exchange is a ValueError or less to kafka-python.
    """
    reason = why_refused(settings)
    if reason:
        raise KafkaUnreachable(reason)
    try:
        return client(**kafka_arguments(settings), **options)
    except (ValueError, AssertionError) as error:
        raise KafkaUnreachable(f"{type(error).__name__}: {error}") from None


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
