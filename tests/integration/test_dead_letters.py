"""Each kind of dead letter on the real database: its reason tells a person what is wrong, and mended causes replay."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.pipeline import Pipeline
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually

BAD_INPUT: list[tuple[str, bytes, str]] = [
    ("not-utf8", b'{"type": "\xff"}', "UTF-8"),
    ("not-json", b"hello", "JSON"),
    ("empty", b"", "empty"),
    ("a-list", b"[]", "object"),
    ("nested", b"[" * 100_000, "nested"),
    ("nan", b'{"type":"UPDATE","entity":"Rating","data":{"id":1,"totalPercentage":NaN}}', "totalPercentage"),
    ("no-type", b'{"entity":"User","data":{}}', "type"),
    ("no-data", b'{"type":"CREATE","entity":"User"}', "data"),
    ("unknown-type", a_message(None, "UPSERT", "User", {"id": 1}), "type"),
    ("unknown-entity", a_message(None, "DELETE", "Client", {"id": 1}), "entity"),
    ("unknown-attribute", a_message(None, "UPDATE", "User", {"id": 1, "nickname": "x"}), "User.nickname"),
    ("id-zero", a_message(None, "DELETE", "User", {"id": 0}), "User.id"),
    ("id-negative", a_message(None, "DELETE", "User", {"id": -1}), "User.id"),
    ("id-text", a_message(None, "DELETE", "User", {"id": "7 OR 1=1"}), "User.id"),
    ("id-fraction", a_message(None, "DELETE", "User", {"id": 1.5}), "User.id"),
    ("id-boolean", a_message(None, "DELETE", "User", {"id": True}), "User.id"),
    ("id-huge", a_message(None, "DELETE", "User", {"id": 10**30}), "User.id"),
    ("id-missing", a_message(None, "UPDATE", "User", {"firstName": "x"}), "User.id"),
    ("bad-email", a_message(None, "CREATE", "User", a_user("nobody")), "User.email"),
    ("missing-name", a_message(None, "CREATE", "Business", {"userId": 1}), "Business.name"),
    ("surrogate", b'{"type":"UPDATE","entity":"User","data":{"id":1,"firstName":"\\ud800"}}', "User.firstName"),
    ("bulk-record", a_message(None, "BULK_UPDATE", "User", {"updates": [{"id": 1}, {"id": 0}]}), "updates[1]"),
    ("bulk-no-list", a_message(None, "BULK_CREATE", "User", {"records": 5}), "records"),
    (
        "huge",
        a_message(None, "UPDATE", "BusinessModel", {"id": 1, "valueProposition": "x" * 1_000_000}),
        "valueProposition",
    ),
]


def test_every_bad_input_is_a_dead_letter_with_a_reason_that_names_the_field(pipeline: Pipeline) -> None:
    good = a_message("good", "CREATE", "User", a_user("ana@example.co"))
    pipeline.send([raw for _, raw, _ in BAD_INPUT] + [good])

    pipeline.service.start()
    counts = pipeline.wait_until_settled()

    assert (counts.dead, counts.applied) == (len(BAD_INPUT), 1)
    reasons = {letter.raw: letter.reason or "" for letter in pipeline.dead_letters().values()}
    wrong = {name: reasons[raw][:200] for name, raw, field in BAD_INPUT if field not in reasons[raw]}
    assert wrong == {}
    in_ledger = pipeline.query("SELECT COUNT(*) FROM settled_operations WHERE outcome = 'dead' AND payload IS NOT NULL")
    assert in_ledger == [(len(BAD_INPUT),)]


def test_strange_but_valid_input_is_applied(pipeline: Pipeline) -> None:
    pipeline.send(
        [
            b'{"type":"CREATE","type":"BULK_CREATE","entity":"User","data":{"records":[]}}',
            a_message("op_1", "CREATE", "User", a_user("ana@example.co", id="7"), timestamp="soon", extra=[1]),
            b'{"type":"UPDATE","entity":"User","data":{"id":7.0},"metadata":"none","more":1e400}',
            b'{"type":"UPDATE","entity":"User","data":{"id":7,"firstName":"a","firstName":"O\'Brien; --"},"metadata":'
            b'{"action":"half \\ud83d"}}',
        ],
        partitions=1,
    )

    pipeline.service.start()
    counts = pipeline.wait_until_settled()

    assert (counts.applied, counts.dead) == (4, 0), pipeline.dead_letters()
    assert pipeline.query("SELECT nombre FROM usuarios WHERE id = 7") == [("O'Brien; --",)]


def replay(pipeline: Pipeline, *operation_ids: str) -> None:
    operator = pipeline.service.operator("replay", *operation_ids, "--why", "the cause is mended")
    operator.spawn()
    assert operator.wait_for_exit() == 0, operator.log()
    pipeline.wait_until_settled()


@pytest.fixture
def prepared(pipeline: Pipeline) -> Pipeline:
    """A running service with User 1 and Business 1."""
    pipeline.service.start()
    pipeline.send(
        [
            a_message("user", "CREATE", "User", a_user("ana@example.co", id=1), timestamp=1),
            a_message("business", "CREATE", "Business", {"id": 1, "userId": 1, "name": "Panadería"}, timestamp=2),
        ]
    )
    pipeline.wait_until_settled()
    return pipeline


#: name, type, entity, data, words of the reason, statements that mend the cause, and what the database then shows.
REFUSED: list[tuple[str, str, str, dict[str, Any], list[str], list[str], tuple[str, Any]]] = [
    (
        "row-not-found",
        "UPDATE",
        "Business",
        {"id": 9, "name": "Nueva"},
        ["Business 9"],
        ["INSERT INTO emprendimientos (id, usuario_id, nombre_emprendimiento) VALUES (9, 1, 'Vieja')"],
        ("SELECT nombre_emprendimiento FROM emprendimientos WHERE id = 9", "Nueva"),
    ),
    (
        "duplicate-key",
        "CREATE",
        "User",
        a_user("ANA@example.co", id=5),
        ["User.email", "ANA@example.co", "1062"],
        ["UPDATE usuarios SET email = 'free@example.co' WHERE id = 1"],
        ("SELECT email FROM usuarios WHERE id = 5", "ANA@example.co"),
    ),
    (
        "missing-parent",
        "CREATE",
        "Rating",
        {"id": 6, "businessId": 77},
        ["Business 77", "1452"],
        ["INSERT INTO emprendimientos (id, usuario_id, nombre_emprendimiento) VALUES (77, 1, 'x')"],
        ("SELECT emprendimiento_id FROM calificaciones WHERE id = 6", 77),
    ),
    (
        "refused-enum",
        "CREATE",
        "Finance",
        {"id": 7, "businessId": 1, "monthlyNetSales": "mas_6_smmlv"},
        ["monthlyNetSales", "ventas_netas_mes", "mas_6_smmlv", "1265"],
        ["ALTER TABLE finanzas MODIFY ventas_netas_mes ENUM('menos_1_smmlv', 'mas_6_smmlv')"],
        ("SELECT ventas_netas_mes FROM finanzas WHERE id = 7", "mas_6_smmlv"),
    ),
    (
        "emoji",
        "UPDATE",
        "Business",
        {"id": 1, "managerName": "Ana 🥐"},
        ["managerName", "1366"],
        ["ALTER TABLE emprendimientos MODIFY nombre_encargado VARCHAR(200) CHARACTER SET utf8mb4"],
        ("SELECT nombre_encargado FROM emprendimientos WHERE id = 1", "Ana 🥐"),
    ),
]


@pytest.mark.parametrize(
    ("type", "entity", "data", "words", "mending", "shown"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_what_the_database_refuses_is_told_and_replays_once_mended(
    prepared: Pipeline,
    type: str,
    entity: str,
    data: dict[str, Any],
    words: list[str],
    mending: list[str],
    shown: tuple[str, Any],
) -> None:
    alter = "ALTER TABLE emprendimientos MODIFY nombre_encargado VARCHAR(200) CHARACTER SET utf8mb3"
    prepared.mariadb.execute(alter, database=prepared.database)

    other = a_message("other", "UPDATE", "User", {"id": 1, "role": "administrador"})
    prepared.send([a_message("bad", type, entity, data), other])
    prepared.wait_until_settled()

    letter = prepared.dead_letters()["bad"]
    assert [word for word in words if word not in (letter.reason or "")] == [], letter.reason
    for statement in mending:
        prepared.mariadb.execute(statement, database=prepared.database)
    replay(prepared, "bad")
    assert prepared.dead_letters() == {}
    assert prepared.query(shown[0]) == [(shown[1],)]
    assert prepared.query("SELECT outcome, incarnation FROM settled_operations WHERE operation_id = 'bad'") == [
        ("applied", 1)
    ]
    key = f"{entity}:{data['id']}"
    eventually(
        lambda: prepared.cached_rows().get(key) == prepared.expected_cache()[key], 20, f"{key} is cached as it is"
    )


def test_what_can_heal_is_retried_as_often_as_the_settings_say(prepared: Pipeline) -> None:
    prepared.send([a_message("bad", "UPDATE", "Business", {"id": 9, "name": "x"})])
    prepared.wait_until_settled()

    assert prepared.dead_letters()["bad"].attempts == 6  # the first try and five retries


def test_a_retry_succeeds_when_the_cause_goes_away_meanwhile(prepared: Pipeline) -> None:
    prepared.service.ingest.stop()
    prepared.service.settings["RETRY_DELAY_MS"] = "1000"
    prepared.service.start_ingest()
    after = prepared.service.actors.log_position()
    prepared.send([a_message("late", "UPDATE", "Business", {"id": 9, "name": "Nueva"})])
    prepared.service.actors.wait_for_log("Retrying message", after=after)
    insert = "INSERT INTO emprendimientos (id, usuario_id, nombre_emprendimiento) VALUES (9, 1, 'Vieja')"
    prepared.mariadb.execute(insert, database=prepared.database)

    prepared.wait_until_settled()

    assert prepared.dead_letters() == {}
    assert prepared.query("SELECT nombre_emprendimiento FROM emprendimientos WHERE id = 9") == [("Nueva",)]


def test_one_operation_too_big_for_the_database_is_a_dead_letter_and_no_outage(prepared: Pipeline) -> None:
    [(before,)] = prepared.mariadb.rows("SELECT @@global.max_allowed_packet")
    prepared.service.actors.stop()
    prepared.mariadb.execute("SET GLOBAL max_allowed_packet = 131072")
    try:
        prepared.service.start_actors()
        texts = ("valueProposition", "customerSegment", "salesChannels", "incomeSources")
        data = {"businessId": 1, **dict.fromkeys(texts, "x" * 60_000)}
        prepared.send([a_message("big", "CREATE", "BusinessModel", data)])
        prepared.wait_until_settled()
    finally:
        prepared.mariadb.execute(f"SET GLOBAL max_allowed_packet = {before}")

    letter = prepared.dead_letters()["big"]
    assert "packet" in (letter.reason or "")
    assert "Database is now UNHEALTHY" not in prepared.logged()


def test_a_discarded_letter_stays_away(prepared: Pipeline) -> None:
    prepared.send([a_message("bad", "DELETE", "User", {"id": 0})])
    prepared.wait_until_settled()

    operator = prepared.service.operator("discard", "bad", "--why", "not wanted")
    operator.spawn()
    assert operator.wait_for_exit() == 0, operator.log()

    counts = prepared.counts()
    assert (counts.dead, counts.discarded, counts.unsettled) == (0, 1, 0)


def test_the_log_tells_of_a_dead_letter_in_the_words_that_alerts_match(prepared: Pipeline) -> None:
    prepared.send([a_message("bad", "DELETE", "User", {"id": 0})])
    prepared.wait_until_settled()

    line = prepared.service.ingest.wait_for_log("DEAD LETTER QUEUE - Operation failed after all retries")

    fields = json.loads(line[line.index("{") :])
    assert fields["operation"] == "bad"
    assert "User.id" in fields["error"]
    assert {"timestamp", "stack"} <= fields.keys()
