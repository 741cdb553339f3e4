"""What the main loop's turns reach beyond the outbox: each only takes a note and never waits for a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from entities.generations import LogGeneration
from outbox.announcements import Announcement
from worker.health import PrunableLog
from worker.scheduler import Sender


class KafkaPort(Protocol):
    """What a turn tells Kafka's reader."""

    def note_persisted(self, assignment: int, offsets: Mapping[int, tuple[int, str]]) -> None: ...

    def give_back_permit(self) -> None: ...


class DatabasePort(Protocol):
    """What a turn asks of the database's monitor."""

    @property
    def is_healthy(self) -> bool: ...

    def report_outage(self) -> None: ...

    def want_epoch(self, assignment: int | None) -> None: ...

    def prune_ledger(self, logs: Sequence[PrunableLog]) -> None: ...

    def want_memory(self, assignment: int) -> None: ...

    def remember(self, logs: Mapping[int, LogGeneration]) -> None: ...

    @property
    def remembered(self) -> Mapping[int, int]: ...

    def tell_ledger(self, discards: Sequence[Announcement]) -> None: ...


class DispatcherPort(Sender, Protocol):
    """What a turn hands to the dispatcher."""

    def inspect(self, batch_ids: Sequence[str]) -> None: ...


class AnnouncerPort(Protocol):
    """What a turn hands to the announcer of dead letters."""

    def announce(self, deaths: Sequence[Announcement]) -> None: ...
