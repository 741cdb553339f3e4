"""Each alert fires in the state it is for, and is silent in the one beside it; promtool runs the rules that are deployed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require
from tests.support.machine import program
from tests.support.pipeline import Pipeline
from tests.support.prometheus_server import MONITORING, PrometheusServer
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually

RULES = MONITORING / "alerts.yml"

#: An ingest that is well, as samples by series.
WELL = {
    'outbox_is_active{instance="a"}': 1,
    'outbox_last_turn_age_seconds{instance="a"}': 0.1,
    'outbox_oldest_operation_age_seconds{instance="a"}': 0,
    'outbox_operations{instance="a",state="pending"}': 10,
    'outbox_operations{instance="a",state="dispatched"}': 10,
    'outbox_operations{instance="a",state="held"}': 0,
    'outbox_operations{instance="a",state="dead"}': 0,
    'outbox_operations_dead_total{instance="a",entity="User",type="CREATE"}': 0,
    'outbox_server_up{instance="a",server="database"}': 1,
    'outbox_server_up{instance="a",server="kafka"}': 1,
    'outbox_server_up{instance="a",server="redis"}': 1,
    'outbox_living_workers{instance="a"}': 2,
    'outbox_capacity_operations{instance="a"}': 1000,
    'outbox_disk_free_bytes{instance="a"}': 500,
    'outbox_disk_size_bytes{instance="a"}': 1000,
}


@dataclass
class Case:
    """An alert with a state in which it fires and one, close to it, in which it does not.

    Both are what differs from `WELL`: a sample, a whole series in promtool's notation, or None for no series at all.
    """

    alert: str
    fires: dict[str, float | str | None]
    silent: dict[str, float | str | None] = field(default_factory=dict)
    at: str = "20m"


OF_STANDBY = {'outbox_is_active{instance="b"}': 0, 'outbox_oldest_operation_age_seconds{instance="b"}': 9000}

CASES = [
    Case("OutboxNoActiveIngest", {'outbox_is_active{instance="a"}': 0}, {'outbox_is_active{instance="b"}': 0}),
    Case("OutboxNoActiveIngest", {'outbox_is_active{instance="a"}': None}),
    Case(
        "OutboxIngestHangs",
        {'outbox_last_turn_age_seconds{instance="a"}': 61},
        {'outbox_last_turn_age_seconds{instance="a"}': 59},
    ),
    Case("OutboxBacklogOld", {'outbox_oldest_operation_age_seconds{instance="a"}': 601}, {**OF_STANDBY}),
    Case(
        "OutboxDeadLetters",
        {'outbox_operations{instance="a",state="dead"}': 1},
        {'outbox_operations{instance="a",state="held"}': 1},
        at="1m",
    ),
    Case(
        "OutboxDeadLettersRise",
        {'outbox_operations_dead_total{instance="a",entity="User",type="CREATE"}': "0+3x40"},
        {'outbox_operations_dead_total{instance="a",entity="User",type="CREATE"}': "0x10 0+1x10 10x30"},
    ),
    Case(
        "OutboxDatabaseDown",
        {'outbox_server_up{instance="a",server="database"}': 0},
        {'outbox_server_up{instance="b",server="database"}': 0},
    ),
    Case(
        "OutboxKafkaDown",
        {'outbox_server_up{instance="a",server="kafka"}': 0},
        {'outbox_server_up{instance="b",server="kafka"}': 0},
    ),
    Case(
        "OutboxRedisDown",
        {'outbox_server_up{instance="a",server="redis"}': 0},
        {'outbox_server_up{instance="b",server="redis"}': 0},
    ),
    Case(
        "OutboxActorsSilent", {'outbox_living_workers{instance="a"}': 0}, {'outbox_living_workers{instance="a"}': None}
    ),
    Case(
        "OutboxNearlyFull",
        {
            'outbox_operations{instance="a",state="pending"}': 700,
            'outbox_operations{instance="a",state="held"}': 101,
        },
        {'outbox_operations{instance="a",state="pending"}': 790},
    ),
    Case(
        "OutboxNearlyFull",
        {'outbox_disk_free_bytes{instance="a"}': 99},
        {'outbox_disk_free_bytes{instance="a"}': 101},
    ),
]


@pytest.fixture
def promtool() -> str:
    require("prometheus")
    found = program("promtool")
    assert found is not None
    return found


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def fired(promtool: str, case: Case, state: dict[str, float | str | None], expected: bool, folder: Path) -> str:
    """What promtool says against the expectation; empty if it is met."""
    series: dict[str, Any] = {**WELL, **state}
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "30s",
                "input_series": [
                    {"series": name, "values": value if isinstance(value, str) else f"{value}x40"}
                    for name, value in series.items()
                    if value is not None
                ],
                # promtool compares whole alerts, which is more than is meant here: that there is one is asked of ALERTS.
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}})',
                        "eval_time": case.at,
                        "exp_samples": [{"labels": "{}", "value": 1}] if expected else [],
                    }
                ],
            }
        ],
    }
    file = folder / "test.yml"
    file.write_text(json.dumps(test))  # JSON is YAML
    tested = run(promtool, "test", "rules", str(file))
    return "" if tested.returncode == 0 else tested.stdout


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_in_its_state_and_not_beside_it(case: Case, promtool: str, tmp_path: Path) -> None:
    assert fired(promtool, case, case.fires, True, tmp_path) == ""
    assert fired(promtool, case, case.silent, False, tmp_path) == ""


def test_no_alert_fires_while_all_is_well(promtool: str, tmp_path: Path) -> None:
    for alert in _names_in_rules():
        assert fired(promtool, Case(alert, {}), {}, False, tmp_path) == ""


def test_every_alert_has_a_test() -> None:
    assert sorted({case.alert for case in CASES}) == sorted(_names_in_rules())


def test_promtool_takes_the_configuration_and_the_rules(promtool: str) -> None:
    checked = run(promtool, "check", "config", str(MONITORING / "prometheus.yml"))

    assert checked.returncode == 0, checked.stdout


@pytest.fixture
def prometheus(pipeline: Pipeline, tmp_path: Path) -> Iterator[PrometheusServer]:
    """A real Prometheus that scrapes the pipeline's ingest; an alert need not last."""
    require("prometheus")
    targets = {"ingest": f"127.0.0.1:{pipeline.service.settings['METRICS_PORT']}"}
    server = PrometheusServer(tmp_path / "prometheus", targets)
    yield server
    server.kill()


def test_a_real_prometheus_sees_a_real_ingest_through_its_troubles(
    pipeline: Pipeline, prometheus: PrometheusServer
) -> None:
    def fires(*alerts: str, timeout: float = 90) -> None:
        eventually(
            lambda: prometheus.firing() == set(alerts), timeout, lambda: f"{alerts} fire, not {prometheus.firing()}"
        )

    prometheus.start()
    fires("OutboxNoActiveIngest")

    pipeline.service.start()
    eventually(lambda: prometheus.value("outbox_living_workers") == 2, 60, "the workers are counted")
    fires()

    pipeline.mariadb.kill()
    fires("OutboxDatabaseDown")

    pipeline.mariadb.start()
    pipeline.send([a_message("op_1", "CREATE", "User", a_user("ana@example.co")), b"not JSON"])
    pipeline.wait_until_settled()
    fires("OutboxDeadLetters")
    assert prometheus.value("sum(outbox_operations_applied_total)") == 1

    pipeline.service.actors.kill()
    fires("OutboxDeadLetters", "OutboxActorsSilent")


def _names_in_rules() -> Sequence[str]:
    return re.findall(r"alert: (\w+)", RULES.read_text())
