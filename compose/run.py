"""One run: a stream through the pipeline, shown while it goes, and compared with what must have come of it."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import redis
from rich.console import Console

from compose import audit
from compose.backstage import Backstage
from compose.embedded import ServerFailed
from compose.live import Moment, Rate, view_for
from compose.sender import Sender
from compose.stream import Stream
from compose.summary import print_summary
from entities.database import open_database
from outbox.records import Entry
from outbox.store import Outbox
from worker.connections import database_config
from worker.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parent.parent

#: How often (s) the outbox is looked at.
LOOK_EVERY_S = 0.1

#: A run with --exit gives up when for so long (s), and the longest wait for a retry, nothing was settled.
STALLED_S = 90.0

#: How long (s) the cache may lag behind the last settlement.
CACHE_S = 20.0

#: How many dead letters are read at a time.
LETTERS_A_PAGE = 500

#: The exit code of a run in which something is not as it should be.
EXIT_WRONG = 1


class Run:
    """One stream through the pipeline."""

    def __init__(self, arguments: argparse.Namespace, folder: Path, backstage: Backstage, console: Console) -> None:
        self._arguments = arguments
        self._backstage = backstage
        self._console = console
        self._began_at = datetime.now(UTC)
        self._settings: Settings = load_settings(backstage.environment, folder / ".env")
        open_database(database_config(self._settings))
        self._outbox = Outbox.attach(self._settings.outbox_path)
        self._ids_before = audit.largest_ids()
        seed = arguments.seed if arguments.seed is not None else int(self._began_at.timestamp())
        self._stream = Stream(seed, self._ids_before)
        self._sender = Sender(self._settings, self._stream, arguments.ops, arguments.rate, not arguments.exit)
        self._rate = Rate()
        self._letters: list[Entry] = []

    def run(self) -> int:
        """Send, show, and (with --exit) compare; the exit code."""
        self._introduce()
        began = time.monotonic()
        self._sender.start()
        try:
            is_settled = self._watch(began)
        except KeyboardInterrupt:
            self._console.print(self._so_far())
            raise
        finally:
            self._sender.stop()
        took_s = time.monotonic() - began
        return self._compare(took_s, is_settled)

    def _introduce(self) -> None:
        settings = self._settings

        def print_line(text: str) -> None:
            self._console.print(text, markup=False, soft_wrap=True)

        print_line(f"embedded: {self._backstage.embedded or 'nothing, all servers are named in the environment'}")
        print_line(f"kafka {','.join(settings.kafka_brokers)}   topic {settings.topic_db_operations}")
        print_line(f"redis {settings.redis_host}:{settings.redis_port}   cache in database {settings.redis_db}")
        print_line(f"dashboard: http://{settings.dashboard_host}:{settings.dashboard_port}/")
        print_line(
            f"retries come after {settings.retry_delay_ms} ms, doubled each time, {settings.max_retry_attempts} of them "
            "(RETRY_DELAY_MS, MAX_RETRY_ATTEMPTS; in production 5,000 ms and 5)"
        )
        print_line(
            f"the desk, in another terminal: cd {ROOT}; OUTBOX_PATH={settings.outbox_path} {sys.executable} -m outbox status"
        )
        if not self._arguments.exit:
            print_line("Ctrl-C stops everything, in order")

    def _watch(self, began: float) -> bool:
        """Show what happens until all is settled (False: it stalled); without --exit until Ctrl-C."""
        longest_wait_s = self._settings.retry_delay_ms * 2 ** max(0, self._settings.max_retry_attempts - 1) / 1000
        moved_at, settled_before = time.monotonic(), -1
        with view_for(self._console) as view:
            while True:
                moment = self._look(began)
                view.show(moment)
                if self._sender.failure:
                    raise ServerFailed(self._sender.failure)
                settled = moment.counts.total - moment.counts.unsettled
                if settled != settled_before:
                    moved_at, settled_before = time.monotonic(), settled
                if self._arguments.exit:
                    if self._sender.is_done and self._is_all_settled():
                        return True
                    if time.monotonic() - moved_at > STALLED_S + longest_wait_s:
                        return False
                time.sleep(LOOK_EVERY_S)

    def _look(self, began: float) -> Moment:
        self._backstage.look()
        counts = self._outbox.counts()
        if counts.dead != len(self._letters):
            self._letters = sorted(self._dead_letters(), key=lambda letter: letter.changed_at)
        rate = self._rate.note(counts.applied + counts.dead)
        return Moment(
            len(self._sender.sent), counts, rate, time.monotonic() - began, self._letters, self._backstage.notes
        )

    def _dead_letters(self) -> list[Entry]:
        letters: list[Entry] = []
        while page := self._outbox.dead_letters(letters[-1].seq if letters else 0, LETTERS_A_PAGE):
            letters += page
        return letters

    def _so_far(self) -> str:
        counts = self._outbox.counts()
        return (
            f"sent {len(self._sender.sent):,}; the outbox holds {counts.applied:,} applied, {counts.dead:,} dead, "
            f"{counts.unsettled:,} open, which go on at the next start in this folder"
        )

    def _is_all_settled(self) -> bool:
        return audit.is_all_taken(self._outbox, self._settings.topic_db_operations, self._sender.sent)

    def _compare(self, took_s: float, is_settled: bool) -> int:
        since_ms = int(self._began_at.timestamp() * 1000)
        outcomes = audit.outcomes_of(self._outbox, self._sender.sent, since_ms)
        faults = [
            ("outcomes", outcomes.faults if is_settled else ["nothing moved any more: given up", *outcomes.faults]),
            ("database", audit.wrong_rows(self._stream, self._ids_before, self._began_at)),
            ("cache", self._wrong_keys()),
            ("programs", self._backstage.notes),
        ]
        print_summary(self._console, outcomes, took_s, faults)
        return EXIT_WRONG if any(wrong for _, wrong in faults) else 0

    def _wrong_keys(self) -> list[str]:
        """What is still wrong once the cache has had its time: it is filled after an operation is settled."""
        settings = self._settings
        cache = redis.Redis(
            settings.redis_host, settings.redis_port, settings.redis_db, settings.redis_password or None
        )
        deadline = time.monotonic() + CACHE_S
        sent = list(self._sender.sent.values())
        while True:
            wrong = audit.wrong_keys(cache, self._stream, self._ids_before, sent, settings.cache_secrets)
            if not wrong or time.monotonic() > deadline:
                return wrong
            time.sleep(LOOK_EVERY_S)
