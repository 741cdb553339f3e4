"""The settings of a history: what its sizes say, and short waits, so that few steps see much."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Literal

from tests.simulation.plan import Sizes
from worker.settings import Settings, load_settings


def settings_of(sizes: Sizes) -> Settings:
    """The service's settings in a history of these sizes."""
    return _settings_of(
        sizes.max_retry_attempts,
        sizes.max_in_flight_batches,
        sizes.batch_max_operations,
        sizes.window_max_operations,
        sizes.buffer_records,
        "hold" if sizes.holds_lanes else "pass",
        "dead-letters" if sizes.announces else "",
    )


@cache
def _settings_of(
    retries: int,
    batches: int,
    of_a_batch: int,
    of_the_window: int,
    buffered: int,
    policy: Literal["pass", "hold"],
    topic_dead_letters: str,
) -> Settings:
    return replace(
        _usual_settings(),
        max_retry_attempts=retries,
        max_in_flight_batches=batches,
        batch_max_operations=of_a_batch,
        window_max_operations=of_the_window,
        partition_buffer_records=buffered,
        dead_letter_policy=policy,
        topic_dead_letters=topic_dead_letters,
    )


@cache
def _usual_settings() -> Settings:
    return load_settings(
        {
            "DB_ENGINE": "sqlite",
            "RETRY_DELAY_MS": "1000",
            "LEASE_MS": "10000",
            "DB_READ_TIMEOUT": "10000",
            "RECONCILE_INTERVAL_MS": "3000",
            "DB_HEALTH_CHECK_INTERVAL": "20000",
        }
    )
