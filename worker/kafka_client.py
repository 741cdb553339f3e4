"""How the settings say where Kafka is: the arguments that every client of it begins with."""

from __future__ import annotations

from typing import Any

from worker.settings import Settings


def kafka_arguments(settings: Settings) -> dict[str, Any]:
    """The keyword arguments of kafka-python that tell a client whom to connect to, and as whom."""
    return {"bootstrap_servers": list(settings.kafka_brokers), "client_id": settings.kafka_client_id}
