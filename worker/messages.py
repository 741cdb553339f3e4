"""What travels between ingest and the actors: the messages' arguments, the settlements, and how they are encoded.

A message is MessagePack, so an operation's bytes travel as they came from Kafka, without base64. The structs' `repr`
is short and never shows those bytes: Dramatiq's failure logs and the dashboard's message page print the arguments.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

import dramatiq
import msgspec
from dramatiq.encoder import MessageData

#: The queues. Applying and the cache have one each, so that a backlog of one does not hold up the other.
APPLY_QUEUE = "apply"
CACHE_QUEUE = "cache"
QUEUES = (APPLY_QUEUE, CACHE_QUEUE)

#: The actors' names, as worker/actors.py declares them. Messages are built without importing the actors.
APPLY_OPERATIONS = "apply_operations"
APPLY_OPERATION = "apply_operation"
BURY = "bury"
SYNC_CACHE = "sync_cache"
RECHECK_CACHE = "recheck_cache"

#: How many of its members a struct's repr names.
MEMBERS_IN_REPR = 3


class Origin(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where in Kafka an operation stands. `generation` counts how often the topic was made anew."""

    topic: str
    generation: int
    partition: int
    offset: int

    @property
    def own_id(self) -> str:
        """The operation id of a message that brings none: `topic-partition-offset`, and `-gN` from generation 1 on."""
        plain = f"{self.topic}-{self.partition}-{self.offset}"
        return f"{plain}-g{self.generation}" if self.generation else plain


class DispatchedOperation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An operation on its way to the database: Kafka's value as it came, and what fences it.

    `incarnation` is 0 for the first run and one more with each replay of a dead letter. `came_as` is empty while `raw` is what
    came; where an operator has changed it, the content digest of what came: by that the ledger knows the operation again.
    """

    origin: Origin
    operation_id: str
    incarnation: int
    raw: bytes
    came_as: bytes = b""

    def __repr__(self) -> str:
        return f"<{self.operation_id!r}#{self.incarnation}, {self.origin.own_id}, {len(self.raw)} bytes>"


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """The operations of one message, in order. It is applied only while `epoch` is the consumer group's current one.

    `batch_id` is the message's id too; each dispatch takes a new one. Settlements go to the outbox named `outbox_id`.
    `holds_lanes`: what follows a dead letter on its row, in this batch too, goes back instead of overtaking it.
    """

    batch_id: str
    outbox_id: str
    consumer_group: str
    epoch: int
    operations: tuple[DispatchedOperation, ...]
    holds_lanes: bool = False

    def __repr__(self) -> str:
        return f"Batch({self.batch_id!r}, epoch {self.epoch}, {_summary(self.operations)})"


class Verdict(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An operation that is to become a dead letter, and why. `reason` is redacted and names the field.

    The others are as in `DispatchedOperation`.
    """

    origin: Origin
    operation_id: str
    incarnation: int
    raw: bytes
    error_kind: str
    reason: str
    attempts: int
    came_as: bytes = b""

    def __repr__(self) -> str:
        return f"<{self.operation_id!r}#{self.incarnation}, {self.origin.own_id}, {self.error_kind}>"


class Verdicts(msgspec.Struct, frozen=True, array_like=True):
    """Dead letters that ingest found itself, on their way into the ledger. The other fields are as in `Batch`."""

    batch_id: str
    outbox_id: str
    consumer_group: str
    epoch: int
    verdicts: tuple[Verdict, ...]

    def __repr__(self) -> str:
        return f"Verdicts({self.batch_id!r}, epoch {self.epoch}, {_summary(self.verdicts)})"


class CacheSync(msgspec.Struct, frozen=True, array_like=True):
    """What a commit left stale: the rows' `keys` (`User:3`) and the `entities` whose lists are to go.

    `notes`: those of pending operations that could not be removed: a row's key and the id of its settled operation. Without
    anything it purges the lists that are due; `promised_by` names the purge that has undertaken to send it, if one has.
    """

    keys: tuple[str, ...]
    entities: tuple[str, ...]
    promised_by: str = ""
    notes: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"CacheSync({_summary(self.keys)}, lists of {', '.join(self.entities) or 'none'})"


class CacheRecheck(msgspec.Struct, frozen=True, array_like=True):
    """Compare the whole cache with the database, from SCAN's `cursor` on; the first message of all has no `voucher` yet."""

    cursor: int = 0
    voucher: str = ""


class Outcome(StrEnum):
    """How an operation left an actor. APPLIED, DEAD and DISCARDED are final; ingest moves on what has any other."""

    #: Its effect and its ledger line are committed.
    APPLIED = "applied"
    #: Its verdict stands in the ledger.
    DEAD = "dead"
    #: The ledger says that an operator has discarded it: nothing was done, and nothing will be.
    DISCARDED = "discarded"
    #: It failed by itself in a batch and may be retried: to be sent as its own `apply_operation`.
    FAILED = "failed"
    #: An attempt of `apply_operation` failed; Dramatiq holds the message until `next_attempt_at`.
    RETRYING = "retrying"
    #: It conflicts with one that failed or was handed back: pending again, no attempt burnt.
    HANDED_BACK = "handed_back"
    #: Its row or parent is not there (yet): pending again, to wait wider, no attempt burnt.
    WAITS = "waits"
    #: The database is out: pending again, no attempt burnt, dispatch pauses.
    UNAVAILABLE = "unavailable"
    #: Its message is of an older epoch: nothing was done.
    FENCED = "fenced"
    #: It went alone and its worker died too often.
    DEADLY = "deadly"


class OutcomeLine(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The outcome of one operation. `next_attempt_at` is milliseconds since 1970, 0 unless `outcome` is RETRYING."""

    origin: Origin
    incarnation: int
    outcome: Outcome
    attempts: int = 0
    error_kind: str = ""
    reason: str = ""
    next_attempt_at: int = 0


class Settlement(msgspec.Struct, frozen=True, array_like=True):
    """What an actor pushes to the outbox's list of settlements when it is done with a batch."""

    batch_id: str
    epoch: int
    lines: tuple[OutcomeLine, ...]


_settlement_encoder = msgspec.msgpack.Encoder()
_settlement_decoder = msgspec.msgpack.Decoder(Settlement)


def encode_settlement(settlement: Settlement) -> bytes:
    """The settlement as it lies in the Redis list."""
    return _settlement_encoder.encode(settlement)


def decode_settlement(data: bytes) -> Settlement:
    """The settlement read back. Raises `msgspec.DecodeError` (`msgspec.ValidationError` too) if `data` is none."""
    return _settlement_decoder.decode(data)


class MessagePackEncoder(dramatiq.Encoder):
    """Dramatiq messages as MessagePack. Our argument structs travel as extension types and come back as structs.

    They do so at any depth: `on_retry_exhausted` sends the whole failed message, as a dict, to `bury`. The traceback
    that Retries writes into a failed message is left out: the database's error text in it can hold values, and the
    log has it.
    """

    #: The extension type of each struct. Messages outlive a deployment: never give a number a new meaning.
    _CODES: ClassVar[dict[type[msgspec.Struct], int]] = {Batch: 1, Verdicts: 2, CacheSync: 3, CacheRecheck: 4}
    _LEFT_OUT = frozenset({"traceback"})

    def __init__(self) -> None:
        self._structs = {code: msgspec.msgpack.Decoder(struct) for struct, code in self._CODES.items()}
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(ext_hook=self._unwrap)

    def encode(self, data: MessageData) -> bytes:
        """The message's fields as bytes. Raises `TypeError` for an argument that MessagePack does not know."""
        return self._encoder.encode(self._wrap(data))

    def decode(self, data: bytes) -> MessageData:
        """The message's fields. Raises `msgspec.DecodeError`, which Dramatiq makes its own, if `data` is no message."""
        fields: MessageData = self._decoder.decode(data)
        return fields

    def _wrap(self, value: Any) -> Any:
        code = self._CODES.get(type(value))
        if code is not None:
            return msgspec.msgpack.Ext(code, self._encoder.encode(value))
        if isinstance(value, dict):
            return {key: self._wrap(member) for key, member in value.items() if key not in self._LEFT_OUT}
        if isinstance(value, (list, tuple)):
            return [self._wrap(member) for member in value]
        return value

    def _unwrap(self, code: int, data: memoryview) -> msgspec.Struct:
        decoder = self._structs.get(code)
        if decoder is None:
            raise ValueError(f"unknown extension type {code}")
        return decoder.decode(data)


def apply_operations_message(batch: Batch) -> dramatiq.Message[None]:
    """The message that has a batch applied in one transaction."""
    return _message(APPLY_QUEUE, APPLY_OPERATIONS, batch, batch.batch_id)


def apply_operation_message(batch: Batch, *, retries: int, max_retries: int) -> dramatiq.Message[None]:
    """The message that has one operation applied by itself, with Dramatiq's retries.

    Parameters:
      batch: a batch of that one operation.
      retries: how many of its retries were made already; Dramatiq counts on from there.
      max_retries: how many retries it may have; when they are used up, Dramatiq sends the message to `bury`.
    """
    return _message(APPLY_QUEUE, APPLY_OPERATION, batch, batch.batch_id, retries=retries, max_retries=max_retries)


def bury_message(verdicts: Verdicts) -> dramatiq.Message[None]:
    """The message that has ingest's own dead letters written into the ledger."""
    return _message(APPLY_QUEUE, BURY, verdicts, verdicts.batch_id)


def sync_cache_message(sync: CacheSync) -> dramatiq.Message[None]:
    """The message that has the cache filled again from the rows as they then are."""
    return _message(CACHE_QUEUE, SYNC_CACHE, sync)


def recheck_cache_message(recheck: CacheRecheck) -> dramatiq.Message[None]:
    """The message that has a portion of the whole cache compared with the database."""
    return _message(CACHE_QUEUE, RECHECK_CACHE, recheck)


def _message(
    queue: str, actor: str, argument: msgspec.Struct, message_id: str | None = None, **options: Any
) -> dramatiq.Message[None]:
    message: dramatiq.Message[None] = dramatiq.Message(
        queue_name=queue, actor_name=actor, args=(argument,), kwargs={}, options=options
    )
    return message if message_id is None else message.copy(message_id=message_id)


def _summary(members: tuple[Any, ...]) -> str:
    named = ", ".join(repr(member) for member in members[:MEMBERS_IN_REPR])
    more = len(members) - MEMBERS_IN_REPR
    return f"{len(members)}: {named}" + (f" and {more} more" if more > 0 else "")
