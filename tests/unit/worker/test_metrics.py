"""What the main loop tells becomes numbers, and numbers become a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from worker.metrics import LATENCY_BOUNDS, LONGEST_TURN_S, OTHER, Event, Histogram, Metrics, Pause, Standing
from worker.metrics_page import MetricsPage


@dataclass
class Clock:
    """Seconds that a test sets."""

    now: float = 1000.0

    def seconds(self) -> float:
        return self.now

    def ms(self) -> int:
        return int(self.now * 1000)


@dataclass
class AnOperation:
    entity: str | None = "User"
    type: str | None = "CREATE"
    produced_at: int = 0
    persisted_at: int = 0
    was_replayed: bool = False


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    return Metrics(("User", "Business"), ("CREATE", "UPDATE"), clock.seconds, clock.ms)


def samples(metrics: Metrics, folder: Path) -> dict[str, float]:
    """The page's samples, as `name{label="value"}`."""
    status, _, text = MetricsPage(metrics, 100, str(folder / "outbox.sqlite3")).answer("")
    assert status == 200
    return {
        sample.name + "".join(f"{{{name}={value}}}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_operations_are_counted_by_entity_and_type(metrics: Metrics, tmp_path: Path) -> None:
    metrics.note_turn([AnOperation()] * 3 + [AnOperation("Business", "UPDATE")], [], [], [])
    metrics.note_turn([AnOperation()], [AnOperation()], [AnOperation()] * 2, [AnOperation("Business")])

    shown = samples(metrics, tmp_path)
    assert shown["outbox_operations_received_total{entity=User}{type=CREATE}"] == 4
    assert shown["outbox_operations_received_total{entity=Business}{type=UPDATE}"] == 1
    assert shown["outbox_operations_applied_total{entity=User}{type=CREATE}"] == 1
    assert shown["outbox_operations_retried_total{entity=User}{type=CREATE}"] == 2
    assert shown["outbox_operations_dead_total{entity=Business}{type=CREATE}"] == 1


def test_a_series_that_may_come_begins_at_zero(metrics: Metrics, tmp_path: Path) -> None:
    assert samples(metrics, tmp_path)["outbox_operations_dead_total{entity=other}{type=other}"] == 0


@given(st.lists(st.tuples(st.none() | st.text(), st.none() | st.text()), max_size=50))
def test_no_message_can_make_a_new_series(names: list[tuple[str | None, str | None]]) -> None:
    metrics = Metrics(("User",), ("CREATE",))
    before = {event: set(counts) for event, counts in metrics.read().operations.items()}

    metrics.note_turn([AnOperation(*name) for name in names], [], [], [])

    read = metrics.read().operations
    assert {event: set(counts) for event, counts in read.items()} == before
    assert sum(read[Event.RECEIVED].values()) == len(names)


def test_what_cannot_be_read_counts_as_other(metrics: Metrics) -> None:
    metrics.note_turn([AnOperation(None, None), AnOperation("Usuario", "CREATE")], [], [], [])

    counts = metrics.read().operations[Event.RECEIVED]
    assert (counts[OTHER, OTHER], counts[OTHER, "CREATE"]) == (1, 1)


def test_latencies_are_counted_from_the_producer_and_from_the_outbox(
    metrics: Metrics, clock: Clock, tmp_path: Path
) -> None:
    metrics.note_turn([], [AnOperation(produced_at=clock.ms() - 45_000, persisted_at=clock.ms() - 200)], [], [])

    shown = samples(metrics, tmp_path)
    assert shown["outbox_produced_to_applied_seconds_bucket{le=30.0}"] == 0
    assert shown["outbox_produced_to_applied_seconds_bucket{le=60.0}"] == 1
    assert shown["outbox_produced_to_applied_seconds_sum"] == 45
    assert shown["outbox_persisted_to_applied_seconds_bucket{le=0.1}"] == 0
    assert shown["outbox_persisted_to_applied_seconds_bucket{le=0.25}"] == 1
    assert shown["outbox_persisted_to_applied_seconds_count"] == 1


def test_a_replay_is_applied_and_has_no_latency(metrics: Metrics) -> None:
    metrics.note_turn([], [AnOperation(was_replayed=True)], [], [])

    reading = metrics.read()
    assert reading.operations[Event.APPLIED]["User", "CREATE"] == 1
    assert sum(reading.produced_to_applied.counts) == 0


def test_a_producer_whose_clock_is_ahead_makes_no_negative_latency(metrics: Metrics, clock: Clock) -> None:
    metrics.note_turn([], [AnOperation(produced_at=clock.ms() + 60_000)], [], [])

    assert metrics.read().produced_to_applied.sum == 0


@given(st.lists(st.floats(0, 200_000), max_size=40))
def test_a_bucket_holds_all_values_up_to_its_bound(values: list[float]) -> None:
    histogram = Histogram(LATENCY_BOUNDS)

    histogram.observe(values)

    expected = [sum(value <= bound for value in values) for bound in LATENCY_BOUNDS]
    assert histogram.cumulative == [*expected, len(values)]


def test_batch_sizes_are_counted(metrics: Metrics, tmp_path: Path) -> None:
    metrics.note_batches([1, 500, 7])

    shown = samples(metrics, tmp_path)
    assert shown["outbox_batch_operations_bucket{le=1.0}"] == 1
    assert shown["outbox_batch_operations_bucket{le=500.0}"] == 3
    assert shown["outbox_batch_operations_sum"] == 508


def test_a_pause_counts_its_seconds_while_it_lasts_and_keeps_them(
    metrics: Metrics, clock: Clock, tmp_path: Path
) -> None:
    metrics.note_pauses({Pause.DATABASE})
    clock.now += 30
    during = samples(metrics, tmp_path)
    metrics.note_pauses(set())
    clock.now += 30
    after = samples(metrics, tmp_path)

    assert (during["outbox_is_paused{why=database}"], during["outbox_paused_seconds_total{why=database}"]) == (1, 30)
    assert (after["outbox_is_paused{why=database}"], after["outbox_paused_seconds_total{why=database}"]) == (0, 30)
    assert (during["outbox_is_paused{why=epoch}"], after["outbox_paused_seconds_total{why=epoch}"]) == (0, 0)


def test_one_pause_may_follow_another(metrics: Metrics, clock: Clock) -> None:
    metrics.note_pauses({Pause.DATABASE})
    clock.now += 5
    metrics.note_pauses({Pause.DATABASE, Pause.OUTBOX_FULL})
    clock.now += 5
    metrics.note_pauses({Pause.OUTBOX_FULL})
    clock.now += 5

    reading = metrics.read()
    assert (reading.paused[Pause.DATABASE], reading.paused[Pause.OUTBOX_FULL]) == (10, 10)
    assert reading.pauses_now == {Pause.OUTBOX_FULL}


def test_how_things_stand_is_shown(metrics: Metrics, clock: Clock, tmp_path: Path) -> None:
    metrics.note_standing(
        Standing(
            operations={"pending": 4, "dead": 2},
            oldest_at=clock.ms() - 90_000,
            lag={0: 7, 1: 0},
            servers={"database": False, "kafka": True},
            living_workers=3,
            is_active=True,
            epoch=12,
            in_flight_operations=20,
            in_flight_batches=2,
        )
    )
    clock.now += 10

    shown = samples(metrics, tmp_path)
    assert shown["outbox_operations{state=pending}"] == 4
    assert shown["outbox_operations{state=dead}"] == 2
    assert shown["outbox_oldest_operation_age_seconds"] == 100
    assert (shown["outbox_consumer_lag_records{partition=0}"], shown["outbox_consumer_lag_records{partition=1}"]) == (
        7,
        0,
    )
    assert (shown["outbox_server_up{server=database}"], shown["outbox_server_up{server=kafka}"]) == (0, 1)
    assert (shown["outbox_living_workers"], shown["outbox_is_active"], shown["outbox_epoch"]) == (3, 1, 12)
    assert (shown["outbox_in_flight_operations"], shown["outbox_in_flight_batches"]) == (20, 2)
    assert shown["outbox_capacity_operations"] == 100
    assert 0 < shown["outbox_disk_free_bytes"] <= shown["outbox_disk_size_bytes"]


def test_workers_are_not_told_while_redis_cannot_be_asked(metrics: Metrics, tmp_path: Path) -> None:
    metrics.note_standing(Standing(living_workers=None))

    assert "outbox_living_workers" not in samples(metrics, tmp_path)


def test_nothing_is_old_while_nothing_waits(metrics: Metrics, tmp_path: Path) -> None:
    metrics.note_standing(Standing(oldest_at=None))

    assert samples(metrics, tmp_path)["outbox_oldest_operation_age_seconds"] == 0


def test_a_loop_that_turns_is_healthy_and_one_that_hangs_is_not(metrics: Metrics, clock: Clock) -> None:
    clock.now += LONGEST_TURN_S
    while_hanging = metrics.read().is_healthy
    metrics.note_alive()

    assert (while_hanging, metrics.read().is_healthy) == (False, True)


@pytest.mark.parametrize(
    ("has_joined", "pauses", "is_ready"),
    [
        (True, set(), True),
        (True, {Pause.DATABASE, Pause.OUTBOX_FULL}, True),
        (False, set(), False),
        (True, {Pause.OUTBOX_REFUSES}, False),
    ],
)
def test_ready_is_who_is_in_the_group_and_can_write(
    metrics: Metrics, has_joined: bool, pauses: set[Pause], is_ready: bool
) -> None:
    metrics.note_standing(Standing(has_joined=has_joined))
    metrics.note_pauses(pauses)

    assert all(metrics.read().readiness.values()) is is_ready


def test_a_loop_that_hangs_is_not_ready(metrics: Metrics, clock: Clock) -> None:
    metrics.note_standing(Standing(has_joined=True))
    clock.now += LONGEST_TURN_S

    assert not all(metrics.read().readiness.values())


def test_the_seconds_of_pauses_add_up(metrics: Metrics, clock: Clock) -> None:
    for _ in range(2):
        metrics.note_pauses({Pause.DATABASE})
        clock.now += 5
        metrics.note_pauses(set())

    assert metrics.read().paused[Pause.DATABASE] == 10
