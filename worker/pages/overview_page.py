"""How things stand: the servers, the gate, what waits, what died, what is held; and the same as figures that renew themselves."""

from __future__ import annotations

from typing import Any

from outbox import State
from worker.desk.held import held_lanes
from worker.desk.overview import Overview, overview
from worker.desk.show_status import gate_line, ingest_line, speed_line, waiting_line
from worker.desk.words import age, lasting
from worker.pages.http import Request, Response, as_json
from worker.pages.ingest_numbers import latency
from worker.pages.place import Place
from worker.pages.view import page

#: The lines of audit that the overview shows.
ACTIONS = 8


def show(request: Request, place: Place) -> Response:
    """The first page."""
    with place.outbox() as outbox:
        view = overview(outbox)
        lanes = held_lanes(outbox) if view.counts.held else []
        actions = outbox.actions(ACTIONS)
    return page(
        request, "overview", view=view, figures=figures(view), lanes=lanes, actions=actions, path=str(place.path)
    )


def live(request: Request, place: Place) -> Response:
    """What the first page asks for again and again."""
    with place.outbox() as outbox:
        view = overview(outbox)
    return as_json(figures(view) | {"latency": latency(place.settings)})


def figures(view: Overview) -> dict[str, Any]:
    """The texts and numbers that change while one looks.

    ``texts`` by the name of the place they stand in; ``servers`` up, down or unknown; ``numbers`` for the charts, None where
    nobody knows.
    """
    note = view.note if view.is_fresh else None
    counts = view.counts
    texts = {
        "ingest": ingest_line(view).plain,
        "gate": gate_line(view).plain,
        "waiting": waiting_line(view).plain,
        "speed": speed_line(view).plain,
        "backlog": f"{counts.pending + counts.dispatched:,}",
        "lag": f"{view.lag:,}" if view.lag is not None else "–",
        "oldest": age(view.oldest_timestamp, view.at) if view.oldest_timestamp is not None else "–",
        "settled_per_s": f"{note.settled_per_s:,.1f}" if note is not None else "–",
        "drains": lasting(view.drains_in_s) if view.drains_in_s is not None else "–",
        **{state.label: f"{counts.of(state):,}" for state in State},
    }
    return {
        "at": view.at,
        "texts": texts,
        "gate": "unknown" if view.paused_because is None else "down" if view.paused_because else "up",
        "servers": {
            "kafka": _known(note is not None, note is not None and note.is_kafka_connected),
            "redis": _known(note is not None, note is not None and note.is_redis_connected),
            "database": _known(note is not None, note is not None and note.is_database_healthy),
        },
        "numbers": {
            "received_per_s": note.received_per_s if note is not None else None,
            "settled_per_s": note.settled_per_s if note is not None else None,
            "backlog": counts.unsettled,
            "lag": view.lag,
        },
    }


def _known(is_known: bool, is_up: bool) -> str:
    return ("up" if is_up else "down") if is_known else "unknown"
