"""The apply path on a real server: what only it can show, failures, locks, lost connections, concurrent copies, costs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from math import ceil, log2
from typing import Any, TypeVar

import peewee
import pymysql
import pytest

from entities import cascade, database, ledger, statements
from entities.business import Business
from entities.database import ServerFacts
from tests.support.applying import (
    GROUP,
    TOPIC,
    a_batch,
    a_raw_operation,
    a_user,
    again,
    an_operation,
    apply,
    create,
    create_user,
    delete,
    outcomes,
    reasons,
    rows,
    statements_sent,
    update,
    verdicts_on,
)
from tests.support.mariadb_server import MariaDBServer
from tests.support.waiting import eventually
from worker import apply as apply_module
from worker import fault_points
from worker.apply import DatabaseUnavailable, Fenced, apply_batch, bury_verdicts
from worker.fault_points import Point
from worker.messages import DispatchedOperation, Outcome

APPLIED, DEAD, WAITS, FAILED = Outcome.APPLIED, Outcome.DEAD, Outcome.WAITS, Outcome.FAILED
HANDED_BACK = Outcome.HANDED_BACK

T = TypeVar("T")


pytestmark = pytest.mark.usefixtures("bound")


def in_threads(count: int, work: Callable[[int], T]) -> list[T]:
    """What the calls return that begin at once, each in a thread with a connection of its own."""
    barrier = threading.Barrier(count)

    def run(number: int) -> T:
        barrier.wait()
        try:
            return work(number)
        finally:
            database.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def count(table: str) -> int:
    [(number,)] = rows(f"SELECT count(*) FROM {table}")
    return int(number)


# ---------------------------------------------------------------------------------------------- each kind of failure


def test_each_refusal_of_the_server_has_a_reason_in_the_operations_own_terms() -> None:
    database.execute("ALTER TABLE emprendimientos MODIFY sector_economico VARCHAR(100) CHARACTER SET utf8mb3")
    database.execute("ALTER TABLE emprendimientos MODIFY nombre_encargado VARCHAR(5)")
    database.execute("ALTER TABLE emprendimientos MODIFY contacto_encargado VARCHAR(20) NOT NULL DEFAULT ''")
    database.execute("ALTER TABLE emprendimientos MODIFY año_creacion SMALLINT")
    apply(create_user(1, id=1), create("Business", id=1, userId=1, name="x"))

    result = apply(
        create("Finance", businessId=1, monthlyNetSales="mas_6_smmlv"),
        create("Business", userId=1, name="x", economicSector="pan 🍞"),
        create("Business", userId=1, name="x", managerName="Magdalena"),
        create("Business", userId=1, name="x", managerContact=None),
        create("Business", userId=1, name="x", creationYear=2**20),
        create("User", **a_user(1)),
        create("Business", userId=99, name="x"),
        update("Business", 1, userId=98),
        update("Rating", 77, totalScore=1),
    )

    assert list(zip(outcomes(result), reasons(result), strict=True)) == [
        (DEAD, "Finance.monthlyNetSales: column ventas_netas_mes refuses 'mas_6_smmlv': data truncated (error 1265)"),
        (
            DEAD,
            "Business.economicSector: column sector_economico refuses 'pan 🍞': "
            "incorrect value for the column's type or character set (error 1366)",
        ),
        (DEAD, "Business.managerName: column nombre_encargado refuses 'Magdalena': data too long (error 1406)"),
        (DEAD, "Business.managerContact: column contacto_encargado must not be null (error 1048)"),
        (DEAD, "Business.creationYear: column año_creacion refuses 1048576: out of range (error 1264)"),
        (WAITS, "User.email 'user1@example.co' is already there (duplicate key email, error 1062)"),
        (WAITS, "Business.userId: User 99 is not there (error 1452)"),
        (WAITS, "Business.userId: User 98 is not there (error 1452)"),
        (WAITS, "Rating 77 is not there"),
    ]
    assert reasons(apply(create_user(9, id=1))) == ["User.id 1 is already there (duplicate key PRIMARY, error 1062)"]


def test_a_column_that_is_missing_is_a_failure_that_may_be_retried() -> None:
    apply(create_user(1, id=1), create("Business", id=1, userId=1, name="x"))
    database.execute("ALTER TABLE emprendimientos DROP COLUMN sector_economico")

    result = apply(update("Business", 1, economicSector="x"), update("Business", 1, name="behind it"))

    assert outcomes(result) == [FAILED, HANDED_BACK]
    assert reasons(result)[0] == "Business: error 1054: Unknown column 'sector_economico' in 'SET'"


def test_a_refused_secret_is_not_shown() -> None:
    database.execute("ALTER TABLE usuarios MODIFY password_hash VARCHAR(5) NOT NULL")

    result = apply(create_user(1, passwordHash="hush-hush"))

    assert reasons(result) == [
        "User.passwordHash: column password_hash refuses (not shown): data too long (error 1406)"
    ]


def test_an_operation_too_big_for_the_packet_is_a_dead_letter_and_its_neighbours_are_applied(
    mariadb: MariaDBServer,
) -> None:
    apply(create_user(1, id=1), create("Business", id=1, userId=1, name="x"))
    with small_packets(mariadb):
        text = "ñ'" * 20_000
        strategies = {"innovationImplementation": text, "environmentalStrategies": text}
        result = apply(
            update("Business", 1, name="before"),
            create("SocialEnvironmentalImpact", businessId=1, **strategies),
            an_operation(
                "BULK_CREATE",
                "SocialEnvironmentalImpact",
                {"records": [{"businessId": 1}, {"businessId": 1, **strategies}]},
            ),
            create("SocialEnvironmentalImpact", businessId=1, innovationImplementation="ñ" * 5_000),
        )

    assert outcomes(result) == [APPLIED, DEAD, DEAD, APPLIED]
    assert "too big" in reasons(result)[1]
    assert reasons(result)[2].startswith("records[1] too big")
    letters = list(ledger.dead_letters(TOPIC))
    assert [letter.payload for letter in letters] == [None, None], "the payloads do not fit either"
    assert all("payload of" in letter.reason for letter in letters)


def test_a_row_with_the_highest_id_makes_dead_letters_of_those_without_an_id_and_no_outage() -> None:
    apply(create_user(1, id=1), create_user(2, id=2**31 - 1))

    together = apply(create_user(3), update("User", 1, firstName="Eva"), create_user(4, id=4))
    alone = apply(create_user(5), is_alone=True)

    assert outcomes(together) == [DEAD, APPLIED, APPLIED]
    assert outcomes(alone) == [DEAD]
    assert reasons(alone)[0].startswith("User.id: the table can generate no more ids")


def test_a_packet_that_is_too_big_after_all_is_found_when_the_operation_goes_alone(
    mariadb: MariaDBServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(create_user(1, id=1), create("Business", id=1, userId=1, name="x"))
    strategies = {"innovationImplementation": "x" * 60_000, "environmentalStrategies": "y" * 60_000}
    big = create("SocialEnvironmentalImpact", businessId=1, **strategies)
    other = update("Business", 1, name="other")
    with small_packets(mariadb):
        facts = ServerFacts(2**24, 100_000, id_step=1)
        monkeypatch.setattr(database, "facts", lambda: facts)  # what the server said before

        together = apply(other, big)
        monkeypatch.undo()
        monkeypatch.setattr("worker.rows.bytes_at_most", lambda work: 0)
        alone = apply(again(big), is_alone=True)

    assert outcomes(together) == [FAILED, FAILED]
    assert outcomes(alone) == [DEAD]
    assert next(ledger.dead_letters(TOPIC)).error_kind == "refused"


class small_packets:
    """A server that takes 64 KiB in a packet, for connections that open in this block."""

    def __init__(self, server: MariaDBServer) -> None:
        self._server = server

    def __enter__(self) -> None:
        [(self._before,)] = self._server.rows("SELECT @@global.max_allowed_packet")
        self._server.execute("SET GLOBAL max_allowed_packet = 65536")
        database.close()

    def __exit__(self, *_: object) -> None:
        self._server.execute("SET GLOBAL max_allowed_packet = %s", (self._before,))
        database.close()


# -------------------------------------------------------------------------------------------------------- what it costs


def test_the_statements_of_a_batch_of_creates_do_not_grow_with_it() -> None:
    def statements_for(size: int) -> list[str]:
        operations = [create_user(size * 1000 + number) for number in range(size)]
        with statements_sent() as sent:
            result = apply(*operations)
        assert set(outcomes(result)) == {APPLIED}
        assert sent.transactions == 1
        return [text.split()[0] for text in sent.texts]

    assert statements_for(5) == statements_for(512) == ["SELECT", "SELECT", "INSERT", "INSERT"]


@pytest.mark.parametrize("poison", [1, 2, 7])
def test_a_batch_with_poison_costs_a_few_statements_and_no_transaction_more(poison: int) -> None:
    size = 512
    apply(*(create_user(number, id=number) for number in range(1, size + 1)))
    places = [number * (size // poison) + 3 for number in range(poison)]
    owners = [9000 + number if number in places else number + 1 for number in range(size)]

    with statements_sent() as sent:
        result = apply(*(create("Business", userId=owner, name="x") for owner in owners))

    assert [number for number, outcome in enumerate(outcomes(result)) if outcome is WAITS] == places
    assert sent.transactions == 1
    clean = 4  # epoch, ledger, rows, the ledger's lines
    looks_at_the_ledger_again = 2
    assert len(sent.texts) <= clean + looks_at_the_ledger_again + poison * 2 * ceil(log2(size))
    assert count("emprendimientos") == size - poison


def test_a_bulk_of_5000_rows_is_one_operation() -> None:
    apply(create_user(1, id=1), create("Business", id=1, userId=1, name="x"))
    records = [{"businessId": 1, "totalScore": number} for number in range(5_000)]

    with statements_sent() as sent:
        result = apply(an_operation("BULK_CREATE", "Rating", {"records": records}))

    assert outcomes(result) == [APPLIED]
    assert sent.count("INSERT INTO `calificaciones`") == ceil(5_000 / statements.ROWS_PER_STATEMENT)
    ids = [int(key.split(":")[1]) for key in result.touched_keys]
    assert rows("SELECT id FROM calificaciones ORDER BY puntaje_total") == [(row_id,) for row_id in ids]


def test_a_bulk_of_5000_updates_with_one_missing_row_changes_nothing() -> None:
    apply(create_user(1, id=1), create("Business", id=1, userId=1, name="x"))
    apply(an_operation("BULK_CREATE", "Rating", {"records": [{"businessId": 1} for _ in range(4_999)]}))
    updates = [{"id": number, "totalScore": number} for number in range(1, 5_001)]

    result = apply(an_operation("BULK_UPDATE", "Rating", {"updates": updates}))

    assert outcomes(result) == [WAITS]
    assert reasons(result) == ["updates[4999] Rating 5000 is not there"]
    assert rows("SELECT DISTINCT puntaje_total FROM calificaciones") == [(0,)]


# ------------------------------------------------------------------------------------------------------ generated ids


@pytest.mark.parametrize("can_return", [True, False])
def test_ids_are_right_where_the_server_does_not_promise_a_row_of_them(
    can_return: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = database.facts()
    without_order = ServerFacts(facts.max_statement_bytes, facts.max_parameters, id_step=None, can_return=can_return)
    monkeypatch.setattr(database, "facts", lambda: without_order)

    result = apply(*(create_user(number) for number in range(20)))

    assert [
        key for (key,) in rows("SELECT concat('User:', id) FROM usuarios ORDER BY email + 0, length(email), email")
    ] == list(result.touched_keys)


def test_ids_are_right_when_the_server_counts_in_steps(mariadb: MariaDBServer) -> None:
    mariadb.execute("SET GLOBAL auto_increment_increment = 3")
    database.close()
    try:
        result = apply(*(create_user(number) for number in range(10)))
    finally:
        mariadb.execute("SET GLOBAL auto_increment_increment = 1")
        database.close()

    assert [f"User:{row_id}" for (row_id,) in rows("SELECT id FROM usuarios ORDER BY length(email), email")] == list(
        result.touched_keys
    )


def test_ids_are_right_while_others_insert_into_the_same_table() -> None:
    def insert(number: int) -> list[tuple[str, str]]:
        told = []
        for portion in range(10):
            base = (number * 10 + portion) * 100
            result = apply(*(create_user(base + one) for one in range(50)))
            told += [(key, f"user{base + one}@example.co") for one, key in enumerate(result.touched_keys)]
        return told

    told = dict(pair for pairs in in_threads(4, insert) for pair in pairs)

    assert told == dict(rows("SELECT concat('User:', id), email FROM usuarios"))


# --------------------------------------------------------------------------------------------------------- concurrency


def test_the_same_batch_in_many_threads_has_one_effect() -> None:
    apply(create_user(0, id=1))
    operations = [create_user(number) for number in range(1, 40)]
    operations += [update("User", 1, firstName="x"), create("Business", userId=1, name="b"), create("User", role="no")]

    results = in_threads(5, lambda _: apply_batch(a_batch(*operations)))

    assert count("usuarios") == 40
    assert count("emprendimientos") == 1
    for result in results:
        assert outcomes(result) == [APPLIED] * 41 + [DEAD]
        assert result.touched_keys == results[0].touched_keys


@pytest.mark.parametrize(
    "operations",
    [
        pytest.param([create_user(number) for number in range(1, 9)], id="a statement would fail"),
        pytest.param([update("User", 1, firstName="x"), delete("User", 1)], id="a row would not be found"),
        pytest.param([update("User", 1, firstName="x")], id="only the ledger collides"),
    ],
)
def test_a_copy_that_was_faster_is_not_mistaken_for_a_failure_of_its_own(
    operations: list[DispatchedOperation], monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(create_user(0, id=1))
    answer = apply_module.LedgerDesk.answer_settled
    calls: list[int] = []

    def and_then_the_other_commits(desk: apply_module.LedgerDesk) -> None:
        answer(desk)
        calls.append(1)
        if len(calls) == 1:
            in_threads(1, lambda _: apply_batch(a_batch(*operations)))

    monkeypatch.setattr(apply_module.LedgerDesk, "answer_settled", and_then_the_other_commits)

    result = apply(*operations)

    assert outcomes(result) == [APPLIED] * len(operations)
    assert len(calls) == 3, "the other's transaction, and ours twice"


def test_a_replay_in_two_copies_turns_the_verdict_once() -> None:
    operation = update("User", 1, firstName="x")
    bury_verdicts(verdicts_on(operation))
    apply(create_user(1, id=1))

    results = in_threads(4, lambda _: apply(again(operation, incarnation=1)))

    assert [outcomes(result) for result in results] == [[APPLIED]] * 4
    assert ledger.settled([operation.operation_id])[operation.operation_id].incarnation == 1


def test_a_replay_whose_letter_is_discarded_in_mid_transaction_is_undone() -> None:
    """The desk of another host discards the letter while a replay of it, from here, has written its rows."""
    apply(create_user(1, id=1))
    operation = update("User", 1, firstName="x")
    bury_verdicts(verdicts_on(operation))
    origin = operation.origin
    discard = ledger.Discard(origin.topic, origin.generation, origin.partition, origin.offset, 0, "not wanted")
    discarded: list[int] = []

    def discard_once(point: Point) -> None:
        if point is Point.ROWS_WRITTEN and not discarded:
            discarded.extend(in_threads(1, lambda _: ledger.discard([discard])))

    fault_points.handle(discard_once)
    try:
        result = apply(again(operation, incarnation=1))
    finally:
        fault_points.handle(None)

    assert (discarded, outcomes(result)) == ([1], [Outcome.DISCARDED])
    assert rows("SELECT nombre FROM usuarios") == [("Ana",)]


def test_verdict_and_operation_at_once_end_as_one_of_the_two() -> None:
    operations = [create_user(number) for number in range(30)]

    def either(number: int) -> object:
        if number == 0:
            return [outcomes(apply(again(one)))[0] for one in operations]
        return [outcomes(bury_verdicts(verdicts_on(one)))[0] for one in operations]

    applied, buried = in_threads(2, either)

    assert applied == buried
    assert count("usuarios") == list(applied).count(APPLIED)  # type: ignore[call-overload]


def test_a_deadlock_is_tried_again_at_once(mariadb: MariaDBServer, bound: str) -> None:
    apply(create_user(1, id=1), create_user(2, id=2), create("Business", id=1, userId=1, name="x"))
    # The application locks the business, then wants the user that the batch has written by then. As it has changed more rows,
    # InnoDB undoes the batch.
    with mariadb.connection(bound) as application, application.cursor() as cursor:
        cursor.execute("SET SESSION innodb_lock_wait_timeout = 20")
        cursor.execute("BEGIN")
        cursor.execute("UPDATE emprendimientos SET nombre_emprendimiento = 'theirs' WHERE id = 1")
        cursor.execute(
            "INSERT INTO usuarios (nombre, apellido, email, password_hash, contacto_celular) "
            + ("SELECT 'n', 'a', concat(seq, '@x.co'), '', '3' FROM seq_1_to_500")
        )
        with statements_sent() as sent, ThreadPoolExecutor(1) as pool:
            batch = pool.submit(
                in_threads, 1, lambda _: apply(update("User", 1, firstName="a"), update("Business", 1, name="b"))
            )
            eventually(lambda: waiting_transactions(mariadb) == 1)
            cursor.execute("UPDATE usuarios SET apellido = 'theirs' WHERE id = 1")
            cursor.execute("COMMIT")
            [result] = batch.result(timeout=60)

    assert outcomes(result) == [APPLIED, APPLIED]
    assert sent.transactions == 2
    assert rows("SELECT nombre, apellido FROM usuarios WHERE id = 1") == [("a", "theirs")]
    assert rows("SELECT nombre_emprendimiento FROM emprendimientos") == [("b",)]


def waiting_transactions(mariadb: MariaDBServer) -> int:
    query = "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    [(number,)] = mariadb.rows(query)
    return int(number)


def test_a_row_that_stays_locked_hands_back_the_batch_and_the_lone_operation_too(
    mariadb: MariaDBServer, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(create_user(1, id=1), create_user(2, id=2))
    monkeypatch.setattr(apply_module, "RETRIES_AT_ONCE", 1)
    database.execute("SET SESSION innodb_lock_wait_timeout = 1")
    with mariadb.connection(bound) as application, application.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM usuarios WHERE id = 1 FOR UPDATE")

        batch = apply(update("User", 2, firstName="a"), update("User", 1, firstName="b"))
        alone = apply(update("User", 1, firstName="b"), is_alone=True)

    assert outcomes(batch) == [HANDED_BACK, HANDED_BACK]
    assert outcomes(alone) == [HANDED_BACK]
    assert {line.error_kind for line in (*batch.outcomes, *alone.outcomes)} == {"contention"}
    assert rows("SELECT nombre FROM usuarios") == [("Ana",), ("Ana",)]


def test_no_child_slips_into_a_cascade_that_is_being_read(
    mariadb: MariaDBServer, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(create_user(1, id=1), create_user(2, id=2), create("Business", id=1, userId=1, name="first"))
    lock_children = cascade.lock_children
    application = ThreadPoolExecutor(1)
    attempts: list[Future[int]] = []

    def while_the_application_adds_one(*arguments: Any) -> list[tuple[int, int]]:
        if not attempts:
            insert = "INSERT INTO emprendimientos (usuario_id, nombre_emprendimiento) VALUES (1, 'second')"
            attempts.append(application.submit(mariadb.execute, insert, database=bound))
            eventually(lambda: waiting_transactions(mariadb) == 1)
        return lock_children(*arguments)

    monkeypatch.setattr(cascade, "lock_children", while_the_application_adds_one)

    result = apply(delete("User", 1))

    assert result.touched_keys == ("User:1", "Business:1")
    assert isinstance(attempts[0].exception(), pymysql.IntegrityError), "its parent is gone"
    application.shutdown()


def test_a_row_that_comes_while_an_update_asks_for_it_is_changed_and_not_only_called_so(
    mariadb: MariaDBServer, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(create_user(1, id=1))
    lock_rows = statements.lock_rows

    def after_another_has_come(*arguments: Any) -> set[int]:
        columns = "id, nombre, apellido, email, password_hash, contacto_celular"
        insert = f"INSERT INTO usuarios ({columns}) VALUES (2, 'Ana', 'Rojas', 'ana@x.co', '-', '3001234567')"
        mariadb.execute(insert, database=bound)
        return lock_rows(*arguments)

    monkeypatch.setattr(statements, "lock_rows", after_another_has_come)

    result = apply(update("User", 1, firstName="Eva"), update("User", 2, firstName="Eva"))

    assert outcomes(result) == [APPLIED, APPLIED]
    assert rows("SELECT nombre FROM usuarios") == [("Eva",), ("Eva",)]


# ------------------------------------------------------------------------------------------------- fencing and outages


def test_raising_the_epoch_waits_for_the_transactions_that_read_the_older_one(mariadb: MariaDBServer) -> None:
    epoch = ledger.epoch_for_share(GROUP)
    with ThreadPoolExecutor(1) as pool:
        with database.transaction():
            ledger.epoch_for_share(GROUP)
            raising = pool.submit(in_threads, 1, lambda _: ledger.raise_epoch(GROUP, "new"))
            eventually(lambda: waiting_transactions(mariadb) == 1)
        assert raising.result(timeout=30) == [epoch + 1]

    with pytest.raises(Fenced):
        apply_batch(a_batch(create_user(1), epoch=epoch))


def test_epochs_raised_at_once_are_all_different() -> None:
    epochs = in_threads(6, lambda number: ledger.raise_epoch("another group", f"outbox-{number}"))

    assert sorted(epochs) == [1, 2, 3, 4, 5, 6]


def test_a_connection_that_the_server_has_closed_while_idle_is_no_outage(mariadb: MariaDBServer, bound: str) -> None:
    apply(create_user(1))
    kill_connections(mariadb, bound)

    assert outcomes(apply(create_user(2))) == [APPLIED]


def test_a_connection_lost_in_mid_transaction_is_an_outage_and_nothing_is_done(
    mariadb: MariaDBServer, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = apply_module.LedgerDesk.write

    def after_a_kill(desk: apply_module.LedgerDesk) -> None:
        kill_connections(mariadb, bound)
        write(desk)

    monkeypatch.setattr(apply_module.LedgerDesk, "write", after_a_kill)
    operation = create_user(1)
    with pytest.raises(DatabaseUnavailable):
        apply(operation)
    monkeypatch.undo()

    assert outcomes(apply(again(operation))) == [APPLIED]
    assert count("usuarios") == 1


def test_a_commit_of_which_nobody_knows_whether_it_happened_is_cleared_up_by_the_ledger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    current = database.current()
    commit = current.commit

    def and_lose_the_answer() -> None:
        commit()
        raise peewee.OperationalError(2013, "Lost connection to MySQL server during query")

    operation = create_user(1)
    monkeypatch.setattr(current, "commit", and_lose_the_answer)
    with pytest.raises(DatabaseUnavailable):
        apply(operation)
    monkeypatch.undo()

    assert outcomes(apply(again(operation))) == [APPLIED]
    assert count("usuarios") == 1


def test_a_read_only_server_is_an_outage(mariadb: MariaDBServer, bound: str) -> None:
    mariadb.execute("CREATE OR REPLACE USER worker@'127.0.0.1'")
    mariadb.execute(
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{bound}`.* TO worker@'127.0.0.1'"
    )  # root may write all the same
    config = database.DatabaseConfig(host="127.0.0.1", port=mariadb.port, user="worker", name=bound)
    database.close()
    database.open_database(config)
    mariadb.execute("SET GLOBAL read_only = ON")
    try:
        with pytest.raises(DatabaseUnavailable, match="1290"):
            apply(create_user(1))
        with pytest.raises(peewee.DatabaseError):
            ledger.probe("outbox-1")
    finally:
        mariadb.execute("SET GLOBAL read_only = OFF")
    ledger.probe("outbox-1")


def test_a_lost_ledger_stops_everything_instead_of_burying_it() -> None:
    database.execute("DROP TABLE settled_operations")

    with pytest.raises(DatabaseUnavailable, match="settled_operations"):
        apply(create_user(1))


def kill_connections(mariadb: MariaDBServer, name: str) -> None:
    """Close the connections to this database, as an idle timeout or an administrator does."""
    for (number,) in mariadb.rows("SELECT id FROM information_schema.processlist WHERE db = %s", (name,)):
        mariadb.execute(f"KILL {number}")
    eventually(lambda: not mariadb.rows("SELECT 1 FROM information_schema.processlist WHERE db = %s", (name,)))


# -------------------------------------------------------------------------------------------------------- our own tables


def test_an_account_that_may_not_create_tables_is_told_the_statements(mariadb: MariaDBServer, bound: str) -> None:
    for table in ("settled_operations", "ingest_epochs", "ingest_nodes"):
        database.execute(f"DROP TABLE {table}")
    mariadb.execute("CREATE OR REPLACE USER modest@'127.0.0.1'")
    mariadb.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{bound}`.* TO modest@'127.0.0.1'")
    database.close()
    database.open_database(database.DatabaseConfig(host="127.0.0.1", port=mariadb.port, user="modest", name=bound))

    with pytest.raises(ledger.MissingTables) as raised:
        ledger.create_own_tables()

    for statement in raised.value.statements.split(";\n"):
        mariadb.execute(statement, database=bound)
    ledger.create_own_tables()
    assert outcomes(apply_batch(a_batch(create_user(1)))) == [APPLIED]


def test_operation_ids_are_compared_byte_for_byte() -> None:
    operations = [
        an_operation("CREATE", "User", a_user(n), id=id) for n, id in enumerate(["Op", "op", "op ", "óp", "🍞" * 255])
    ]

    assert outcomes(apply(*operations)) == [APPLIED] * 5
    assert outcomes(apply(*map(again, operations))) == [APPLIED] * 5
    assert count("usuarios") == 5


def test_text_with_sql_in_it_is_text() -> None:
    evil = "x'); DROP TABLE usuarios; -- %s %(a)s \\' \" ` \x00 🍞"
    apply(create_user(1, id=1, firstName=evil), create_user(2, id=2))
    apply(update("User", 2, firstName=evil, lastName="%"), update("User", 1, lastName="100 %"))

    assert rows("SELECT nombre FROM usuarios") == [(evil,), (evil,)]


def test_undecodable_bytes_are_a_dead_letter_with_their_bytes() -> None:
    raw = bytes(range(256)) * 4_000

    assert outcomes(apply(a_raw_operation(raw, id="op_raw"))) == [DEAD]
    assert next(ledger.dead_letters(TOPIC)).payload == raw


def test_rows_come_back_from_the_database_as_the_models_have_them() -> None:
    apply(create_user(1, id=1), create("Business", id=1, userId=1, name="x", creationYear=1999))

    [row] = statements.rows_for_share(Business, [1, 2])

    assert (row.id, row.__data__["creation_year"]) == (1, 1999)
