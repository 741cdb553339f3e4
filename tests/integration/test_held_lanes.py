"""DEAD_LETTER_POLICY=hold on real servers: what follows a dead letter on its row waits for a person, and then runs in order."""

from __future__ import annotations

import pytest

from outbox.records import EntryFilter
from outbox.states import State
from tests.support.pipeline import Pipeline
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually


@pytest.fixture
def holding(pipeline: Pipeline) -> Pipeline:
    """A running service whose dead letters hold: one that the database refused, one that is held, three that are applied."""
    pipeline.service.settings |= {"DEAD_LETTER_POLICY": "hold", "MAX_RETRY_ATTEMPTS": "0"}
    pipeline.send(
        [
            a_message("user", "CREATE", "User", a_user("ana@example.co", id=1)),
            a_message("business", "CREATE", "Business", {"id": 1, "userId": 1, "name": "Panadería"}),
            a_message("refused", "CREATE", "Finance", {"id": 1, "businessId": 1, "monthlyNetSales": "mas_6_smmlv"}),
            a_message("follows", "UPDATE", "Finance", {"id": 1, "monthlyProfitability": "medio_1_smmlv"}),
            a_message("other", "UPDATE", "Business", {"id": 1, "name": "La Esquina"}),
        ],
        partitions=1,
    )
    pipeline.service.start()
    wait_for(pipeline, dead=1, held=1, applied=3)
    return pipeline


def wait_for(pipeline: Pipeline, **counts: int) -> None:
    def is_so() -> bool:
        found = pipeline.counts()
        return all(found.of(State[name.upper()]) == count for name, count in counts.items())

    eventually(is_so, 60, lambda: f"{counts}: {pipeline.counts()}\n{pipeline.service.log_tails()}", ignoring=(OSError,))


def the_letter(pipeline: Pipeline) -> int:
    with pipeline.outbox() as outbox:
        (letter,) = outbox.entry_ids(EntryFilter(state=State.DEAD))
    return letter


def mend_the_column(pipeline: Pipeline) -> None:
    with pipeline.mariadb.connection(pipeline.database) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE finanzas MODIFY ventas_netas_mes varchar(20)")


def finances(pipeline: Pipeline) -> list[tuple[object, ...]]:
    return pipeline.query("SELECT id, ventas_netas_mes, rentabilidad_mensual FROM finanzas")


def test_a_mended_letter_is_applied_before_what_waited_for_it(holding: Pipeline) -> None:
    mend_the_column(holding)

    with holding.outbox() as outbox:
        outbox.replay([the_letter(holding)], "Ana", "the column was mended")

    wait_for(holding, dead=0, held=0, applied=5)
    assert finances(holding) == [(1, "mas_6_smmlv", "medio_1_smmlv")]
    holding.wait_until_the_cache_is_true()


def test_what_waits_outlives_a_restart(holding: Pipeline) -> None:
    holding.service.stop()

    holding.service.start()
    holding.send([a_message("later", "UPDATE", "Finance", {"id": 1, "monthlyProfitability": None})], partitions=1)
    wait_for(holding, dead=1, held=2, applied=3)
    mend_the_column(holding)
    with holding.outbox() as outbox:
        outbox.replay([the_letter(holding)], "Ana", "the column was mended")

    wait_for(holding, dead=0, held=0, applied=6)
    assert finances(holding) == [(1, "mas_6_smmlv", None)]


def test_what_waits_outlives_the_outbox(holding: Pipeline) -> None:
    holding.service.stop()
    for file in holding.service.folder.glob("outbox.sqlite3*"):
        file.unlink()

    holding.service.start()

    wait_for(holding, dead=1, held=1)
    assert finances(holding) == []
