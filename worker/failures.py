"""What a driver's error means: the one place that looks at error numbers.

`classify` says of which kind a failure is, and so what is to be done about it (DESIGN, "What kind of failure"), and what
exactly the database found wrong, so that `worker.reasons` can tell it in the operation's own terms. Nothing that it gives
holds a value of an operation: servers quote values in their messages, and some of those are secrets.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum

import peewee
from pymysql.constants import CR, ER

from worker.tls import tls_trouble


class FailureKind(StrEnum):
    """What is to be done about a failure."""

    #: The database is out, refuses us or cannot store anything: hand everything back, burn no attempt, pause.
    UNAVAILABLE = "unavailable"
    #: A deadlock or a lock held too long: the transaction again at once, a few times. Then its operations go alone, and who is
    #: kept waiting by others (Cause.LOCKED) waits on, however long: no attempt is burnt.
    CONTENTION = "contention"
    #: A duplicate key, a missing parent, a missing row: an earlier operation may mend it; then retries.
    ORDER = "order"
    #: The database will never take this value: a dead letter at once.
    REFUSED = "refused"
    #: Anything else of the operation's own: retries, then a dead letter.
    UNEXPECTED = "unexpected"


class Cause(Enum):
    """What exactly the database found wrong with an operation, as far as it matters to its reason."""

    DUPLICATE = "duplicate key"
    MISSING_PARENT = "missing parent"
    NOT_NULL = "must not be null"
    TRUNCATED = "data truncated"
    CHARACTERS = "characters that the column cannot hold"
    TOO_LONG = "too long"
    OUT_OF_RANGE = "out of range"
    WRONG_VALUE = "not a value of the column's type"
    CHECK = "check constraint"
    NO_IDS_LEFT = "the table can generate no more ids"
    TOO_BIG = "above the database's packet"
    LOCKED = "others hold a lock"
    OTHER = "error"


@dataclass(frozen=True)
class Failure:
    """A failure, without any value of an operation in it.

    Parameters:
      code: The server's or driver's error number; SQLite's extended one; 0 if there is none.
      name: What the server names: the column, the key of a duplicate; empty if nothing.
      reason: The error in a few words, for logs.
    """

    kind: FailureKind
    cause: Cause
    code: int
    name: str
    reason: str

    @property
    def ends_transaction(self) -> bool:
        """Whether the transaction is undone and cannot go on; else only the failed statement is."""
        return self.kind in (FailureKind.UNAVAILABLE, FailureKind.CONTENTION) or self.code == _TOO_BIG


#: PyMySQL: a connection that is closed already. Not a server's number.
_CLOSED = 0

#: PyMySQL: the server has no TLS.
_NO_TLS = 2026

_UNAVAILABLE = {
    CR.CR_CONNECTION_ERROR,  # 2002
    CR.CR_CONN_HOST_ERROR,  # 2003 refused
    CR.CR_UNKNOWN_HOST,  # 2005
    CR.CR_SERVER_GONE_ERROR,  # 2006
    CR.CR_SERVER_LOST,  # 2013 killed, shut down, or slower than read_timeout
    CR.CR_SERVER_LOST_EXTENDED,  # 2055
    _NO_TLS,
    ER.CON_COUNT_ERROR,  # 1040 too many connections
    1203,  # too many connections of this user
    1226,  # this user's resources of the hour are used up
    ER.HOST_IS_BLOCKED,  # 1129
    ER.HOST_NOT_PRIVILEGED,  # 1130
    ER.DBACCESS_DENIED_ERROR,  # 1044: an operator's mistake, like the next two, and no operation's
    ER.ACCESS_DENIED_ERROR,  # 1045
    ER.BAD_DB_ERROR,  # 1049
    1698,  # access denied, no password
    ER.SERVER_SHUTDOWN,  # 1053
    1077,  # normal shutdown
    1079,  # shutdown complete
    1152,  # aborted connection
    1158,  # network errors: read, its timeout, write, its timeout
    1159,
    1160,
    1161,
    1184,  # aborted connection
    1927,  # MariaDB: connection was killed
    4031,  # MySQL: the client was idle for too long
    ER.OPTION_PREVENTS_STATEMENT,  # 1290 --read-only
    1792,  # a transaction that is read only
    1836,  # read-only mode
    1036,  # a read-only table: InnoDB was started so (innodb_read_only, innodb_force_recovery)
    1874,  # the same of InnoDB itself
    1881,
    1637,  # too many transactions that write, InnoDB has no room for one more
    1665,  # the binary log takes statements only, and READ COMMITTED writes rows: for somebody to set otherwise
    1598,  # no binary log to be written
    1047,  # Galera: the node is not ready
    3,  # error writing a file, as 1026
    1021,  # disk full
    1026,
    1030,  # error of the storage engine
    1114,  # table full
    1037,  # out of memory, 1038 to sort, 1041 at all
    1038,
    1041,
    1135,  # cannot make a thread
}

_CONTENTION = {
    ER.LOCK_WAIT_TIMEOUT,  # 1205
    1206,  # too many locks
    ER.LOCK_DEADLOCK,  # 1213
    1020,  # the row changed since it was read (MariaDB's snapshots)
    1317,  # KILL QUERY
    1969,  # MariaDB: max_statement_time
    3024,  # MySQL: max_execution_time
    3101,  # group replication rolled back
    3572,  # NOWAIT
}

#: Those of them that are the doing of others, however often they come; the rest may be an operation's own (it takes too long).
_LOCKED = {ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK, 1020, 3101, 3572}

_ORDER = {
    ER.DUP_ENTRY: Cause.DUPLICATE,  # 1062
    1022: Cause.DUPLICATE,
    1586: Cause.DUPLICATE,
    ER.NO_REFERENCED_ROW: Cause.MISSING_PARENT,  # 1216
    ER.NO_REFERENCED_ROW_2: Cause.MISSING_PARENT,  # 1452
}

_REFUSED = {
    ER.BAD_NULL_ERROR: Cause.NOT_NULL,  # 1048
    1263: Cause.NOT_NULL,
    1364: Cause.NOT_NULL,  # no default
    ER.WARN_DATA_OUT_OF_RANGE: Cause.OUT_OF_RANGE,  # 1264
    1690: Cause.OUT_OF_RANGE,
    ER.WARN_DATA_TRUNCATED: Cause.TRUNCATED,  # 1265, an ENUM that lacks the value
    ER.DATA_TOO_LONG: Cause.TOO_LONG,  # 1406
    1118: Cause.TOO_LONG,  # row too big
    139: Cause.TOO_LONG,
    1292: Cause.WRONG_VALUE,
    1411: Cause.WRONG_VALUE,
    ER.TRUNCATED_WRONG_VALUE_FOR_FIELD: Cause.CHARACTERS,  # 1366, an emoji above all
    3988: Cause.CHARACTERS,
    167: Cause.NO_IDS_LEFT,  # MariaDB's; a row with the highest id is there, and the table waits for a person
    1467: Cause.NO_IDS_LEFT,  # MySQL's
    3819: Cause.CHECK,
    4025: Cause.CHECK,  # MariaDB's
}

#: The server closes the connection after a packet above max_allowed_packet, so this may stand behind a 2006 or 2013.
_TOO_BIG = 1153

#: Errors of the clean-up after another, which is the one that matters: no such savepoint (a deadlock has undone it).
_AFTERMATH = {1305}

#: SQLite's, by their extended numbers; what is not here goes by the primary one, below.
_SQLITE_CONSTRAINTS = {
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: (FailureKind.ORDER, Cause.DUPLICATE),
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: (FailureKind.ORDER, Cause.DUPLICATE),
    sqlite3.SQLITE_CONSTRAINT_ROWID: (FailureKind.ORDER, Cause.DUPLICATE),
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: (FailureKind.ORDER, Cause.MISSING_PARENT),
    sqlite3.SQLITE_CONSTRAINT_NOTNULL: (FailureKind.REFUSED, Cause.NOT_NULL),
    sqlite3.SQLITE_CONSTRAINT_CHECK: (FailureKind.REFUSED, Cause.CHECK),
}
_SQLITE_PRIMARY = {
    sqlite3.SQLITE_BUSY: FailureKind.CONTENTION,
    sqlite3.SQLITE_LOCKED: FailureKind.CONTENTION,
    sqlite3.SQLITE_INTERRUPT: FailureKind.CONTENTION,
    sqlite3.SQLITE_MISMATCH: FailureKind.REFUSED,
    sqlite3.SQLITE_TOOBIG: FailureKind.REFUSED,
    sqlite3.SQLITE_FULL: FailureKind.UNAVAILABLE,
    sqlite3.SQLITE_READONLY: FailureKind.UNAVAILABLE,
    sqlite3.SQLITE_IOERR: FailureKind.UNAVAILABLE,
    sqlite3.SQLITE_CORRUPT: FailureKind.UNAVAILABLE,
    sqlite3.SQLITE_CANTOPEN: FailureKind.UNAVAILABLE,
    sqlite3.SQLITE_NOTADB: FailureKind.UNAVAILABLE,
    sqlite3.SQLITE_PERM: FailureKind.UNAVAILABLE,
    sqlite3.SQLITE_NOMEM: FailureKind.UNAVAILABLE,
    sqlite3.SQLITE_PROTOCOL: FailureKind.UNAVAILABLE,
}

#: How the servers name what is wrong: `for key 'usuarios.email'` (MySQL 8 puts the table before it), `FOREIGN KEY
#: (`usuario_id`)`, `for column `db`.`t`.`c``, `column 'c'`, `Field 'c' doesn't have`; SQLite `failed: usuarios.email`.
_DUPLICATE_KEY = re.compile(r"for key '(?:[^'.]*\.)?([^']+)'\s*$")
_FOREIGN_KEY = re.compile(r"FOREIGN KEY \(`([^`]+)`")
_COLUMN = re.compile(r"(?:for column|Column|column|Field) (?:`[^`]*`\.`[^`]*`\.)?[`']([^`']+)[`']")
_CONSTRAINT = re.compile(r"constraint [`']?(?:[^`' ]+\.)?([^`' ]+)[`']? (?:is violated|failed)", re.IGNORECASE)
_SQLITE_NAMES = re.compile(r"constraint failed: (?:\S+\.)?(.+)$")

#: Errors whose text quotes names only, so that it can be shown whole; any other's quotations are masked.
_HARMLESS = {1044, 1045, 1048, 1049, 1054, 1142, 1143, 1146, 1205, 1213, 1264, 1265, 1290, 1364, 1406, 1452, 2003, 2005}


def classify(error: BaseException) -> Failure:
    """What kind of failure this exception of Peewee or its drivers is.

    Peewee hides the first error behind another one when the rollback fails as well, so the whole chain counts: a lost
    connection, or a packet that was too big, wherever it stands in it; else the newest error that has a number. Something
    that is no database error at all is UNEXPECTED.
    """
    chain = list(_chain(error))
    for one in chain:
        sqlite_code = getattr(one, "sqlite_errorcode", None)
        if sqlite_code is not None:
            return _of_sqlite(int(sqlite_code), str(one))
    numbered = [(code, text) for code, text in map(_number_and_text, chain) if code is not None]
    by_code: dict[int, str] = {}
    for code, text in numbered:
        by_code.setdefault(code, text)
    if _TOO_BIG in by_code:
        return _of_mysql(_TOO_BIG, by_code[_TOO_BIG])
    told = [code for code in by_code if code != _CLOSED and code not in _AFTERMATH]
    lost = [code for code in told if code in _UNAVAILABLE]
    if lost:
        return _of_mysql(lost[-1], by_code[lost[-1]])
    if _CLOSED in by_code or any(_is_out_of_use(one) for one in chain):
        return Failure(FailureKind.UNAVAILABLE, Cause.OTHER, 0, "", "the connection is closed")
    if told:
        return _of_mysql(told[0], by_code[told[0]])
    return Failure(FailureKind.UNEXPECTED, Cause.OTHER, 0, "", type(error).__name__)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and all it was raised from or after, newest first."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [getattr(one, "orig", None), one.__cause__, one.__context__]


def _number_and_text(error: BaseException) -> tuple[int | None, str]:
    if not isinstance(error, peewee.PeeweeException) and type(error).__module__ != "pymysql.err":
        return None, ""
    if error.args and isinstance(error.args[0], int):
        return error.args[0], str(error.args[1]) if len(error.args) > 1 else ""
    return None, ""


def _is_out_of_use(error: BaseException) -> bool:
    """Whether a driver says without a number that the connection can no longer be used.

    With a number below 1000 an InternalError is the storage engine's, and the connection is in order.
    """
    return (
        isinstance(error, (peewee.InterfaceError, peewee.InternalError, OSError)) and _number_and_text(error)[0] is None
    )


def _of_mysql(code: int, text: str) -> Failure:
    cause = Cause.OTHER
    name = ""
    if code in _UNAVAILABLE:
        kind = FailureKind.UNAVAILABLE
    elif code in _CONTENTION:
        kind = FailureKind.CONTENTION
        cause = Cause.LOCKED if code in _LOCKED else cause
    elif code in _ORDER:
        kind, cause = FailureKind.ORDER, _ORDER[code]
        name = _named(_DUPLICATE_KEY if cause is Cause.DUPLICATE else _FOREIGN_KEY, text)
    elif code in _REFUSED:
        kind, cause = FailureKind.REFUSED, _REFUSED[code]
        name = _named(_CONSTRAINT if cause is Cause.CHECK else _COLUMN, text)
    elif code == _TOO_BIG:
        kind, cause = FailureKind.REFUSED, Cause.TOO_BIG
    else:
        kind = FailureKind.UNEXPECTED
    shown = text if code in _HARMLESS else re.sub(r"'.*'", "'…'", text, flags=re.DOTALL)
    advice = _advice(code, text)
    shown = f"{shown} ({advice})" if advice else shown
    return Failure(kind, cause, code, name, f"error {code}: {shown}" if shown else f"error {code}")


def _advice(code: int, text: str) -> str:
    """The settings to look at when the server does not let us in; empty for anything else."""
    if code in (ER.ACCESS_DENIED_ERROR, 1698):
        return "see DB_USER and DB_PASSWORD, and DB_SSL and DB_SSL_CERT if the account asks for them"
    if code in (ER.DBACCESS_DENIED_ERROR, ER.BAD_DB_ERROR):
        return "see DB_NAME, and the rights of DB_USER"
    if code == _NO_TLS:
        return "see DB_SSL"
    return tls_trouble(text, "DB") if code in (CR.CR_CONN_HOST_ERROR, CR.CR_SERVER_LOST) else ""


def _of_sqlite(code: int, text: str) -> Failure:
    kind, cause = _SQLITE_CONSTRAINTS.get(code, (_SQLITE_PRIMARY.get(code & 0xFF, FailureKind.UNEXPECTED), Cause.OTHER))
    if code & 0xFF == sqlite3.SQLITE_TOOBIG:
        cause = Cause.TOO_BIG
    elif code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        cause = Cause.LOCKED
    return Failure(kind, cause, code, _named(_SQLITE_NAMES, text), f"error {code}: {text}")


def _named(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found.group(1) if found else ""
