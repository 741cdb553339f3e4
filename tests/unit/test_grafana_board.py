"""The Grafana board is one that Grafana can load and draw, as far as its file can tell (what it asks for: test_deployment.py)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

GRAFANA = Path(__file__).resolve().parents[2] / "compose" / "monitoring" / "grafana"
BOARD: dict[str, Any] = json.loads((GRAFANA / "outbox.json").read_text())
PANELS: list[dict[str, Any]] = BOARD["panels"]

#: Columns of Grafana's grid.
COLUMNS = 24

#: Ids of @grafana/data's units that suit the numbers here.
UNITS = {"ops", "short", "s", "ms", "bytes", "none", "bool_on_off", "percentunit"}

#: The labels of our numbers and Dramatiq's.
LABELS = {"instance", "entity", "type", "state", "partition", "server", "why", "actor_name", "le"}


def targets() -> list[tuple[str, dict[str, Any]]]:
    return [(panel["title"], target) for panel in PANELS for target in panel["targets"]]


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    """The cells of the grid that a panel covers."""
    place = panel["gridPos"]
    rows, columns = range(place["y"], place["y"] + place["h"]), range(place["x"], place["x"] + place["w"])
    return {(row, column) for row in rows for column in columns}


def test_the_board_has_what_grafana_asks_of_one() -> None:
    assert {"uid", "title", "schemaVersion", "panels", "time", "refresh"} <= BOARD.keys()
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", BOARD["uid"])
    assert isinstance(BOARD["schemaVersion"], int) and BOARD["schemaVersion"] >= 36
    assert BOARD.get("id") is None  # else a provisioned board takes another one's place


def test_panels_have_ids_titles_and_places_of_their_own() -> None:
    covered = [cell for panel in PANELS for cell in cells(panel)]

    assert len({panel["id"] for panel in PANELS}) == len(PANELS) == len({panel["title"] for panel in PANELS})
    assert len(set(covered)) == len(covered)
    assert all(0 <= column < COLUMNS for _, column in covered)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_draws_lines_of_a_known_unit_from_the_provisioned_source(panel: dict[str, Any]) -> None:
    source = dict(re.findall(r"^    (uid|type): (\S+)$", (GRAFANA / "datasource.yml").read_text(), re.MULTILINE))

    assert panel["type"] == "timeseries"
    assert panel["datasource"] == source
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    references = [target["refId"] for target in panel["targets"]]
    assert references == [chr(ord("A") + number) for number in range(len(references))]


@pytest.mark.parametrize(("title", "target"), targets(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_lines_name_tells_the_labels_that_the_expression_keeps(title: str, target: dict[str, Any]) -> None:
    kept = {label.strip() for by in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for label in by.split(",")}
    named = set(re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"]))

    assert target["legendFormat"], title
    assert kept <= LABELS
    aggregates = re.match(r"(sum|max|histogram_quantile)\b", target["expr"])
    assert named == (kept - {"le"} if aggregates else {"instance"}), (title, target)
