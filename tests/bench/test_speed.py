"""The whole of the measurements at a small scale, so that they are known to work: `tests/run bench -s -k speed`.

The numbers of so short a run say little; each run is checked for what it did all the same. BENCH_SCALE=1 and BENCH_REPEATS=3
make it the real measurement, which `python -m tests.bench.suite` also writes to files.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench import suite
from tests.bench.bench import Bench
from tests.bench.ground import Ground
from tests.bench.picture import draw
from tests.bench.report import TARGETS, as_json, print_tables
from tests.support.kafka_server import KafkaServer
from tests.support.mariadb_server import MariaDBServer
from tests.support.redis_server import RedisServer


@pytest.mark.timeout(1800)
def test_everything_is_measured_and_every_contestant_does_its_work(
    kafka: KafkaServer, mariadb: MariaDBServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    scale, repeats = float(os.environ.get("BENCH_SCALE", "0.02")), int(os.environ.get("BENCH_REPEATS", "1"))
    bench = Bench(Ground(tmp_path, kafka, mariadb, redis_server), scale, repeats)

    suite.measure(bench)

    print_tables(Console(highlight=False), bench.measured)
    assert all(len(target.values(bench.measured)) == repeats for target in TARGETS)
    assert as_json(bench.measured, {}) and draw(bench.measured)
