"""What lies in compose/ for containers, systemd and monitoring, as far as it can be checked without running it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from worker.metrics import Metrics, Standing
from worker.metrics_page import MetricsPage
from worker.settings import variables

COMPOSE = Path(__file__).resolve().parents[2] / "compose"
BOARD = COMPOSE / "monitoring" / "grafana" / "outbox.json"


@pytest.fixture
def shown(tmp_path: Path) -> set[str]:
    """The names that ingest's page shows."""
    metrics = Metrics(("User",), ("CREATE",))
    metrics.note_standing(Standing({"dead": 0}, 0, {0: 0}, {"kafka": True}, living_workers=1))
    _, _, text = MetricsPage(metrics, 1, str(tmp_path / "outbox.sqlite3")).answer("")
    return set(re.findall(r"^(outbox_\w+)", text.decode(), re.MULTILINE))


@pytest.mark.parametrize("file", [BOARD, COMPOSE / "monitoring" / "alerts.yml"], ids=lambda file: file.name)
def test_board_and_alerts_ask_only_for_numbers_that_ingest_shows(file: Path, shown: set[str]) -> None:
    named = set(re.findall(r"\boutbox_[a-z_]+", file.read_text()))

    assert len(named) > 5
    assert named - shown == set()


def test_the_board_shows_every_number_of_ingest_but_those_that_serve_alerts(shown: set[str]) -> None:
    expressions = [target["expr"] for panel in json.loads(BOARD.read_text())["panels"] for target in panel["targets"]]
    named = {name for expression in expressions for name in re.findall(r"\boutbox_[a-z_]+", expression)}

    parts = {name for name in shown if name.endswith(("_bucket", "_count", "_sum"))}
    assert shown - named - parts == {
        "outbox_epoch",
        "outbox_last_turn_age_seconds",
        "outbox_disk_size_bytes",
        "outbox_paused_seconds_total",
    }


@pytest.mark.parametrize("profile", ["", "servers", "monitoring"])
def test_compose_takes_its_file(profile: str) -> None:
    tool = shutil.which("docker-compose")
    if tool is None:
        pytest.skip("there is no docker-compose (on Debian: docker-compose)")
    chosen = ["--profile", profile] if profile else []

    checked = subprocess.run(
        [tool, "--file", str(COMPOSE / "compose.yaml"), *chosen, "config", "--services"],
        env={
            name: value for name, value in os.environ.items() if name != "PYTHONPATH"
        },  # its package is `compose`, too
        capture_output=True,
        text=True,
    )

    assert checked.returncode == 0, checked.stderr
    assert {"ingest", "actors", "dashboard"} <= set(checked.stdout.split())


def test_the_composition_passes_every_setting_on() -> None:
    """But for those that the image, or what a container is, decides."""
    text = (COMPOSE / "compose.yaml").read_text()
    passed = set(re.findall(r"^ +([A-Z_]+): \$\{\1:-[^}]*\}", text, re.MULTILINE))

    names = {variable.name for variable in variables()}
    by_the_image = {"DB_ENGINE", "OUTBOX_PATH", "LOG_DIR"}
    by_the_network = {"METRICS_HOST", "METRICS_PORT", "ACTORS_METRICS_PORT", "DASHBOARD_HOST", "DASHBOARD_PORT"}
    assert names - passed == by_the_image | by_the_network


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("there is no systemd-analyze (on Debian: systemd)")
    for unit in (COMPOSE / "systemd").iterdir():
        text = unit.read_text()
        # The commands are not installed here; that they are executable is all that is asked of them.
        (tmp_path / unit.name).write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text))

    checked = subprocess.run(
        [tool, "verify", *(str(unit) for unit in sorted(tmp_path.iterdir()))], capture_output=True, text=True
    )

    told = [line for line in checked.stderr.splitlines() if "outbox" in line]
    assert (checked.returncode, told) == (0, []), checked.stderr


def test_the_target_starts_and_stops_every_unit() -> None:
    services = {unit.name: unit.read_text() for unit in (COMPOSE / "systemd").glob("*.service")}
    target = (COMPOSE / "systemd" / "outbox.target").read_text()

    wanted = set(re.findall(r"[\w-]+\.service", target.split("Wants=")[1].splitlines()[0]))

    assert wanted == set(services)
    assert [name for name, text in services.items() if "PartOf=outbox.target\n" not in text] == []
