"""A real Prometheus, scraping what a test names, with the alert rules of compose/."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.machine import program
from tests.support.server import Server

#: The configuration and the rules that are deployed.
MONITORING = Path(__file__).resolve().parents[2] / "compose" / "monitoring"


class PrometheusServer(Server):
    """Scrapes and evaluates every second.

    :param targets: `host:port` by the name of the job in compose's configuration.
    """

    name = "prometheus"

    def __init__(self, folder: Path, targets: dict[str, str]) -> None:
        super().__init__(folder)
        self.targets = targets

    def prepare(self) -> None:
        """Compose's own files, but for the addresses, the intervals and how long an alert has to be true."""
        configuration = (MONITORING / "prometheus.yml").read_text().replace("15s", "1s")
        for job, target in self.targets.items():
            lines = configuration.splitlines()
            at = lines.index(f"  - job_name: {job}") + 2
            lines[at] = f'      - targets: ["{target}"]'
            configuration = "\n".join(lines)
        (self.folder / "prometheus.yml").write_text(configuration)
        rules = (MONITORING / "alerts.yml").read_text().splitlines()
        (self.folder / "alerts.yml").write_text(
            "\n".join(line for line in rules if not line.strip().startswith("for: "))
        )

    def command(self) -> list[str]:
        server = program("prometheus")
        assert server is not None, "there is no `prometheus`"
        return [
            server,
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    def is_ready(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        alerts = self._ask("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def value(self, query: str) -> float | None:
        """The first value of a query; None: it has none."""
        result = self._ask("query", query=query)["result"]
        return float(result[0]["value"][1]) if result else None

    def _ask(self, what: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            told = json.load(answer)
        assert told["status"] == "success", told
        return told["data"]
