"""Which workers live, by Redis's clock."""

from __future__ import annotations

import socket

import fakeredis
import pytest

from worker.living_workers import FORGOTTEN_MS, SILENCE_MS, WORKERS_KEY, living_workers, note_worker


@pytest.fixture
def client() -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis()


def note(client: fakeredis.FakeRedis, worker: str, ago_ms: int = 0) -> None:
    seconds, micros = client.time()
    with client.pipeline() as pipeline:
        note_worker(pipeline, worker, seconds * 1000 + micros // 1000 - ago_ms)
        pipeline.execute()


def test_workers_that_gave_a_sign_lately_live(client: fakeredis.FakeRedis) -> None:
    note(client, "a")
    note(client, "b")
    note(client, "silent", ago_ms=2 * SILENCE_MS)

    assert living_workers(client) == 2


def test_workers_of_other_hosts_are_told_apart(client: fakeredis.FakeRedis) -> None:
    note(client, "a")

    assert (living_workers(client, socket.gethostname()), living_workers(client, "elsewhere")) == (1, 0)


def test_those_long_silent_are_forgotten(client: fakeredis.FakeRedis) -> None:
    note(client, "gone", ago_ms=2 * FORGOTTEN_MS)
    note(client, "here")

    assert client.zcard(WORKERS_KEY) == 1
