"""The dashboard's program over an outbox in which something of everything stands, and an embedded database: no other server."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from entities import base, database
from entities.database import DatabaseConfig
from entities.own_tables import create_own_tables
from entities.schema import application_ddl
from outbox import Entry
from tests.support.child import Child
from tests.support.service import ROOT
from tests.support.waiting import eventually, free_port
from tests.unit.desk.builders import Desk
from worker.ingest_note import INGEST_NOTE

#: A word that no line holds, and nothing in it where a line could end.
LONG = "x" * 250


class StandingDashboard:
    """The running program. `letters` are entry ids by what they are for."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.desk = Desk(folder / "outbox.sqlite3")
        self.letters = _filled(self.desk)
        _make_database(folder / "application.sqlite3")
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OUTBOX_PATH": str(self.desk.path),
            "DB_ENGINE": "sqlite",
            "DB_NAME": str(folder / "application.sqlite3"),
            "BROKER_REDIS_URL": f"redis://127.0.0.1:{free_port()}/1",  # nobody listens there
            "LOG_DIR": str(folder / "logs"),
            "DASHBOARD_PORT": "0",
            "METRICS_PORT": "0",
            **settings,
        }
        command = [sys.executable, "-m", "worker.dashboard"]
        self.child = Child("dashboard", command, folder / "dashboard.log", environment, folder)
        self.child.spawn()
        found = re.search(r'http://[^/"]+', self.child.wait_for_log("Dashboard is serving"))
        assert found is not None
        self.address = found.group()

    @property
    def paths(self) -> dict[str, str]:
        """The address of each kind of page that a link leads to, by its name."""
        letters = self.letters
        return {
            "overview": "/",
            "groups": "/groups",
            "letters": "/letters",
            "all entries": "/letters?state=all",
            "nothing found": "/letters?q=nothing-is-like-this",
            "a group": "/letters?group=Business:order:-:missing",
            "a letter": f"/entries/{letters['missing']}",
            "a letter with long words": f"/entries/{letters['long']}",
            "an edited letter": f"/entries/{letters['edited']}",
            "a discarded letter": f"/entries/{letters['discarded']}",
            "what waits": f"/entries/{letters['waits']}",
            "what is held": f"/entries/{letters['held']}",
            "replay": f"/replay?id={letters['behind']}",
            "replay of a group": "/replay?group=Business:order:-:missing",
            "discard": f"/discard?id={letters['long']}",
            "edit": f"/entries/{letters['missing']}/edit",
            "edit of long words": f"/entries/{letters['long']}/edit",
            "done": "/done?action=replay&done=3&refused=1&left=1",
            "no such page": "/nowhere",
        }

    def dead(self) -> list[Entry]:
        """The dead letters."""
        return self.desk.outbox.dead_letters()


@contextmanager
def standing_dashboard(folder: Path, **settings: str) -> Iterator[StandingDashboard]:
    """The dashboard for as long as the block runs; `settings` beside those that it needs."""
    dashboard = StandingDashboard(folder, settings)
    try:
        eventually(lambda: dashboard.child.is_running, 10)
        yield dashboard
    finally:
        dashboard.child.kill()
        dashboard.desk.outbox.close()


def _filled(desk: Desk) -> dict[str, int]:
    """Something in each state, and each kind of trouble, told by an ingest."""
    outbox = desk.outbox
    made = {
        "missing": desk.dead(),
        "value": desk.dead(
            "UPDATE", "User", {"id": 1, "email": "nobody"}, kind="invalid", reason="User.email: must be"
        ),
        "long": desk.dead("UPDATE", LONG[:60], {"id": 9, LONG: LONG}, id=LONG, reason=f"{LONG} is not there"),
        "edited": desk.dead("UPDATE", "User", {"id": 1, "firstName": "Ana", "passwordHash": "s3cr3t"}, id="edited"),
        "discarded": desk.dead(id="discarded"),
        "behind": desk.dead("UPDATE", "Business", {"id": 1, "name": "La Vieja"}, id="behind", reason="it timed out"),
    }
    outbox.discard([made["discarded"]], "ana", "the user asked us to")
    desk.done("edit", made["edited"], "--set", "firstName=María", "--why", "a typo")
    desk.applied("UPDATE", "Business", {"id": 1, "name": "La Nueva"}, id="since")
    first = desk.pending("UPDATE", "User", {"id": 1, "firstName": "a"})
    made["waits"] = desk.pending("UPDATE", "User", {"id": 1, "firstName": "b"})
    made["held"] = desk.pending("UPDATE", "Business", {"id": 9, "name": "x"})
    outbox.hold([(made["held"], made["missing"])])
    outbox.remember_action("ana", "replay", LONG, f"group {LONG}", 1, 1)
    note = {"host": "h", "pid": 7, "started_at": 1, "partitions": 3, "settled_per_s": 2.0, "received_per_s": 3.0}
    states = {"is_kafka_connected": True, "is_redis_connected": False, "paused_because": ["the database is down"]}
    outbox.leave_note(INGEST_NOTE, json.dumps({**note, **states, "ends": {"0": 5}}))
    return {**made, "first": first}


def _make_database(file: Path) -> None:
    """The application's tables with User 1 and Business 1 in them."""
    before = base.database.obj
    database.open_database(DatabaseConfig(engine="sqlite", name=str(file)))
    try:
        for statement in application_ddl("sqlite"):
            database.execute(statement)
        create_own_tables()
        database.execute(
            "INSERT INTO usuarios (id, nombre, apellido, email, password_hash, contacto_celular) "
            "VALUES (1, 'Ana', 'Ruiz', 'ana@example.co', 'x', '3001234567')"
        )
        database.execute(
            "INSERT INTO emprendimientos (id, usuario_id, nombre_emprendimiento) VALUES (1, 1, 'La Nueva')"
        )
    finally:
        database.close()
        base.database.obj = before
