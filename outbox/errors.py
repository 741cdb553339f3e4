"""Why an outbox file cannot be used. Each text says what to do."""

from __future__ import annotations


class UnusableOutbox(Exception):
    """The file at this path cannot be used as it is. It was not touched."""


class OutboxFileMissing(UnusableOutbox):
    """There is no outbox at this path, and who asks must not make one."""


class NotAnOutbox(UnusableOutbox):
    """There is a file at this path, but something else made it, or it is damaged."""


class OutboxVersionMismatch(UnusableOutbox):
    """The file is of another version than this program, and must not be touched by it."""
