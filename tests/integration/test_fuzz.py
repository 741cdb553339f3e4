"""Odd messages through the whole service: nothing crashes, each is applied or dead with a reason, no secret is told.

Most go through the production code in one thread (`tests.support.fuzz_run`, which as a program runs as many as are wanted), a
smaller share through the real programs, from Kafka to the desk.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from outbox.records import Counts
from outbox.states import State
from tests.support.applying import mariadb_database
from tests.support.fuzz_run import fuzz
from tests.support.mariadb_server import MariaDBServer
from tests.support.mutations import SECRET, Form, first_messages, mutants
from tests.support.pipeline import Pipeline
from tests.support.service import ROOT

#: What a minute of an idle machine is good for, together with the real programs.
MESSAGES_OF_EACH_POLICY = 15_000
MESSAGES_TO_THE_PROGRAMS = 3_000


def test_each_odd_message_is_applied_or_dead_with_a_reason_and_no_secret(
    mariadb: MariaDBServer, database: str, tmp_path: Path
) -> None:
    with mariadb_database(mariadb, database):
        tally = fuzz(tmp_path, seed=2, count=MESSAGES_OF_EACH_POLICY)

    assert tally.total == MESSAGES_OF_EACH_POLICY
    # A stream of which nothing is applied, or that lacks a kind of failure, would show little.
    assert tally.applied > MESSAGES_OF_EACH_POLICY / 4
    assert tally.dead.keys() == {"invalid", "order", "refused", "reused"}


def test_the_same_holds_where_unknown_attributes_are_ignored_and_failures_retried(
    mariadb: MariaDBServer, database: str, tmp_path: Path
) -> None:
    with mariadb_database(mariadb, database):
        tally = fuzz(tmp_path, seed=1, count=MESSAGES_OF_EACH_POLICY)

    assert tally.total == MESSAGES_OF_EACH_POLICY


def test_a_stream_is_the_same_for_the_same_seed() -> None:
    assert list(mutants(5, 300)) == list(mutants(5, 300))
    assert list(mutants(5, 300)) != list(mutants(6, 300))


def test_odd_messages_through_the_real_programs_leave_no_secret_anywhere(pipeline: Pipeline) -> None:
    pipeline.service.settings |= {"MAX_RETRY_ATTEMPTS": "1", "RETRY_DELAY_MS": "1", "LOG_LEVEL": "debug"}
    pipeline.service.start()
    pipeline.send(first_messages(), partitions=1)
    pipeline.wait_until_settled()
    stream = list(mutants(4, MESSAGES_TO_THE_PROGRAMS))

    pipeline.send([one.raw for one in stream])
    counts = pipeline.wait_until_settled(timeout=240.0)

    assert counts.total == pipeline.sent
    assert counts == Counts(0, 0, counts.applied, counts.dead, 0)
    assert min(counts.applied, counts.dead) > MESSAGES_TO_THE_PROGRAMS / 4
    broken = {one.raw for one in stream if one.form is Form.BROKEN}
    in_form = {one.raw for one in stream if one.form is Form.IN_FORM}
    entries = pipeline.entries()
    assert not [entry for entry in entries if entry.raw in broken and entry.state is not State.DEAD]
    assert not [entry for entry in entries if entry.raw in in_form and entry.error_kind == "invalid"]
    assert not [entry for entry in entries if entry.state is State.DEAD and not entry.reason]
    assert any(SECRET.encode() in entry.raw for entry in entries if entry.state is State.DEAD)
    assert SECRET not in pipeline.logged() + pipeline.service.log_tails()
    assert SECRET not in json.dumps(pipeline.cached_rows())
    assert SECRET not in "".join(_shown_at_the_desk(pipeline))


def _shown_at_the_desk(pipeline: Pipeline) -> list[str]:
    """What the operator's desk prints of all entries, and of each dead letter whose payload holds a secret."""
    outbox = pipeline.service.settings["OUTBOX_PATH"]
    letters = [entry for entry in pipeline.entries() if entry.state is State.DEAD and SECRET.encode() in entry.raw]
    commands = [
        ["list", "--state", "all", "--limit", "100000"],
        ["list", "--state", "all", "--limit", "100000", "--json"],
    ]
    commands += [["show", str(letter.entry_id)] for letter in letters[:20]]
    command = [sys.executable, "-m", "outbox", "--file", outbox]
    return [
        subprocess.run([*command, *one], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for one in commands
    ]
