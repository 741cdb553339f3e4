"""The tables of the outbox file, said once as Peewee models.

The models are bound to no database, since a process may have several outboxes open: queries name theirs with
``.execute(database)``. The hot paths keep their SQL as text, with the names taken from here.
"""

from __future__ import annotations

from typing import Any

from peewee import (
    SQL,
    AutoField,
    BlobField,
    BooleanField,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    Model,
    Node,
    SmallIntegerField,
    TextField,
)

from outbox.states import UNSETTLED, State

ZERO: list[Node] = [SQL("DEFAULT 0")]


class Identity(Model):
    """Who this outbox is: one row. Kafka's commits carry the id, so that another disk is noticed."""

    outbox_id = TextField(primary_key=True)
    created_at = IntegerField()

    class Meta:
        table_name = "identity"


class PartitionLog(Model):
    """One generation of one partition: what Kafka calls its log. Entries name it by a small number."""

    id = AutoField()
    topic = TextField()
    generation = IntegerField()
    partition = IntegerField()

    class Meta:
        table_name = "partition_logs"
        indexes = ((("topic", "generation", "partition"), True),)


class PartitionPosition(Model):
    """Where the outbox stands in each partition; see ``records.Position``."""

    topic = TextField()
    partition = IntegerField()
    generation = IntegerField()
    next_offset = IntegerField()
    last_offset = IntegerField(null=True)
    last_timestamp = IntegerField(null=True)
    last_hash = BlobField(null=True)

    class Meta:
        table_name = "positions"
        primary_key = CompositeKey("topic", "partition")


class EntryColumns(Model):
    """What an entry and an archived entry have in common; see ``records.Entry``.

    ``raw`` comes last: SQLite then reads the others without following a long value's overflow pages.
    """

    log = ForeignKeyField(PartitionLog, column_name="log_id", index=False)
    offset = IntegerField()
    kafka_timestamp = IntegerField()
    order_timestamp = IntegerField()
    value_hash = BlobField()
    operation_id = TextField()
    entity = TextField(null=True)
    type = TextField(null=True)
    state = SmallIntegerField(constraints=ZERO)
    incarnation = IntegerField(constraints=ZERO)
    attempts = IntegerField(constraints=ZERO)
    waits_wider = BooleanField(constraints=ZERO)
    goes_alone = BooleanField(constraints=ZERO)
    deaths = IntegerField(constraints=ZERO)
    first_seq = IntegerField(null=True)  # the seq it began with, once a replay has moved it
    next_attempt_at = IntegerField(null=True)
    error_kind = TextField(null=True)
    reason = TextField(null=True)
    held_by = IntegerField(null=True)  # the seq of the dead letter that a held entry waits behind
    appended_at = IntegerField()
    changed_at = IntegerField()
    came_as = BlobField(null=True)  # tells what it asked for when it came, once an operator has changed that


class StoredEntry(EntryColumns):
    """An operation. ``seq`` is never given twice, also when the rows of the highest ones are gone."""

    seq = AutoField(constraints=[SQL("AUTOINCREMENT")])
    raw_bytes = BlobField(column_name="raw")

    class Meta:
        table_name = "entries"


class ArchivedEntry(EntryColumns):
    """An entry of a partition that another outbox has taken over meanwhile: kept to look at, never to be run."""

    seq = IntegerField(primary_key=True)
    archived_at = IntegerField(index=True)
    archived_why = TextField()
    raw_bytes = BlobField(column_name="raw")

    class Meta:
        table_name = "archived_entries"


class HistoryRow(Model):
    """A change worth remembering: a failed attempt, a failure's hand-back, a death, a replay, a discard."""

    id = AutoField()
    entry_id = IntegerField(index=True)
    at = IntegerField()
    from_state = SmallIntegerField()
    to_state = SmallIntegerField()
    incarnation = IntegerField()
    attempts = IntegerField()
    kind = TextField(null=True)
    why = TextField(null=True)
    who = TextField(null=True)

    class Meta:
        table_name = "history"


class EditRow(Model):
    """What stood in an entry before an operator changed its payload: the first of an entry is the original."""

    id = AutoField()
    entry_id = IntegerField(index=True)
    at = IntegerField()
    who = TextField()
    why = TextField()
    raw_before = BlobField()

    class Meta:
        table_name = "edits"


class DeskActionRow(Model):
    """The audit: one line for each command that changed something, kept when the entries are long gone."""

    id = AutoField()
    at = IntegerField()
    who = TextField()
    action = TextField()
    why = TextField()
    chosen = TextField()
    changed = IntegerField()
    refused = IntegerField()

    class Meta:
        table_name = "desk_actions"


class Note(Model):
    """A small fact that one program leaves for another, the newest only: what ingest alone knows, how far was pruned."""

    name = TextField(primary_key=True)
    at = IntegerField()
    text = TextField()

    class Meta:
        table_name = "notes"


class AnnouncementRow(Model):
    """A change that others are still to be told of, with a copy of all there is to say; see ``announcements``."""

    id = AutoField(constraints=[SQL("AUTOINCREMENT")])
    audience = SmallIntegerField(index=True)
    at = IntegerField()
    operation_id = TextField()
    topic = TextField()
    generation = IntegerField()
    partition = IntegerField()
    offset = IntegerField()
    entity = TextField(null=True)
    type = TextField(null=True)
    incarnation = IntegerField()
    attempts = IntegerField()
    error_kind = TextField(null=True)
    reason = TextField(null=True)
    raw_bytes = BlobField(column_name="raw", null=True)

    class Meta:
        table_name = "announcements"


class StateCount(Model):
    """How many entries are in a state: counting 10 million rows takes seconds, so each transaction keeps these."""

    state = SmallIntegerField(primary_key=True)
    entries = IntegerField(constraints=ZERO)

    class Meta:
        table_name = "counters"


#: The tables' names, for SQL that is kept as text.
PARTITION_LOGS: str = PartitionLog._meta.table_name
POSITIONS: str = PartitionPosition._meta.table_name
COUNTERS: str = StateCount._meta.table_name
ENTRIES: str = StoredEntry._meta.table_name
ARCHIVED_ENTRIES: str = ArchivedEntry._meta.table_name
HISTORY: str = HistoryRow._meta.table_name
EDITS: str = EditRow._meta.table_name
NOTES: str = Note._meta.table_name
ANNOUNCEMENTS: str = AnnouncementRow._meta.table_name


def is_entry(entry_id: int) -> Any:
    """The condition for the entry of this id, after a replay has given it another seq. Both halves use an index."""
    moved = StoredEntry.select(StoredEntry.seq).where(SQL(WAS_MOVED), StoredEntry.first_seq == entry_id)
    return (StoredEntry.seq.in_(moved)) | ((StoredEntry.seq == entry_id) & StoredEntry.first_seq.is_null())


def column_names(table: type[Model]) -> tuple[str, ...]:
    """The table's columns, as the file calls them, in the table's order."""
    return tuple(field.column_name for field in table._meta.sorted_fields)


#: SQLite uses a partial index only where the query repeats its condition word for word, with the numbers written out:
#: so the conditions stand here once, and queries are built with them.
NOT_APPLIED = f"state <> {State.APPLIED:d}"
OWED_TO_KAFKA = f"state IN ({', '.join(f'{state:d}' for state in UNSETTLED)}) AND incarnation = 0"
IS_APPLIED = f"state = {State.APPLIED:d}"
IS_HELD = f"state = {State.HELD:d}"
WAS_MOVED = "first_seq IS NOT NULL"

# Recognises a record that is read again.
StoredEntry.add_index(StoredEntry.log, StoredEntry.offset, unique=True, name="entries_by_place")
# The window, the oldest waiting, and the desk's lists: in each state by seq, which ends every index of SQLite.
StoredEntry.add_index(StoredEntry.state, name="entries_by_state", where=SQL(NOT_APPLIED))
# The low-water mark of a partition. A replayed letter does not hold the mark: the database's ledger has it.
StoredEntry.add_index(StoredEntry.log, StoredEntry.offset, name="entries_owed", where=SQL(OWED_TO_KAFKA))
# What a letter holds: to let it go, and to tell whether a replay must keep the letter's place.
StoredEntry.add_index(StoredEntry.held_by, name="entries_held", where=SQL(IS_HELD))
# The pruner: applied longest ago first.
StoredEntry.add_index(StoredEntry.changed_at, name="entries_applied", where=SQL(IS_APPLIED))
# What people ask by, since the application logs it. It costs a tenth of an append; without it 10 million rows would be read.
StoredEntry.add_index(StoredEntry.operation_id, name="entries_by_operation")
# Few rows: an entry by its id after a replay.
StoredEntry.add_index(StoredEntry.first_seq, name="entries_moved", where=SQL(WAS_MOVED))

TABLES: tuple[type[Model], ...] = (
    Identity,
    PartitionLog,
    PartitionPosition,
    StoredEntry,
    ArchivedEntry,
    HistoryRow,
    StateCount,
    EditRow,
    DeskActionRow,
    Note,
    AnnouncementRow,
)
