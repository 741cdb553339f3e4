"""An operation that kills its worker each time it is applied: a dead letter in the end, and nobody else pays for it."""

from __future__ import annotations

import sys

from tests.support.pipeline import Pipeline
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually

#: Neighbours that share the killer's first batch, its queue and its worker processes.
NEIGHBOURS = 30


def run_with_killer(pipeline: Pipeline) -> None:
    """Let ingest and the actors know the operation type that kills."""
    service = pipeline.service
    service.actors.command = [
        "tests.faults.killer_actors" if part == "worker.actors" else part for part in service.actors.command
    ]
    service.ingest.command = [sys.executable, "-m", "tests.faults.killer_actors"]


def test_an_operation_that_kills_its_worker_each_time_ends_as_a_dead_letter_and_spares_its_neighbours(
    pipeline: Pipeline,
) -> None:
    pipeline.service.settings |= {"MAX_RETRY_ATTEMPTS": "1", "RETRY_DELAY_MS": "100"}
    run_with_killer(pipeline)
    users = [
        a_message(f"user_{number}", "CREATE", "User", a_user(f"user{number}@example.co", id=number), timestamp=number)
        for number in range(1, NEIGHBOURS + 1)
    ]
    killer = a_message("killer", "KILL", "User", {"id": 1, "firstName": "Eva"}, timestamp=NEIGHBOURS + 1)
    updates = [
        a_message(f"update_{number}", "UPDATE", "User", {"id": number, "lastName": "Rojas"}, timestamp=100 + number)
        for number in range(1, NEIGHBOURS + 1)
    ]
    pipeline.send([*users, killer, *updates], partitions=1)
    pipeline.service.start()

    def settled() -> bool:
        if pipeline.service.actors.exit_code is not None:  # Dramatiq's main process ends with its child
            assert pipeline.service.actors.wait_for_exit() == 1
            pipeline.service.start_actors()
        counts = pipeline.counts()
        return counts.total == pipeline.sent and counts.unsettled == 0

    eventually(settled, 120, pipeline.service.log_tails, ignoring=(OSError,))

    [letter] = pipeline.dead_letters().values()
    assert (letter.operation_id, letter.error_kind) == ("killer", "deadly")
    assert "its worker died" in (letter.reason or "")
    deaths = (pipeline.service.folder / "deaths").read_text()
    assert len(deaths) >= 3  # in its batch and by itself; two of one main process may die together
    others = [entry for entry in pipeline.entries() if entry.operation_id != "killer"]
    assert {entry.attempts for entry in others} == {0}
    [(ana, rojas)] = pipeline.query("SELECT sum(nombre = 'Ana'), sum(apellido = 'Rojas') FROM usuarios")
    assert (ana, rojas) == (NEIGHBOURS, NEIGHBOURS)
    ledger = "SELECT outcome, count(*) FROM settled_operations GROUP BY outcome ORDER BY outcome"
    assert pipeline.query(ledger) == [("applied", 2 * NEIGHBOURS), ("dead", 1)]
    pipeline.wait_until_the_cache_is_true()
