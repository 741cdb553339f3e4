"""MariaDB on its own data folder, as the application's database: utf8mb4, strict mode, durable at each commit."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from tests.support.server import Server

#: The account that services use: the contract's defaults of DB_USER and DB_PASSWORD.
USER = "root"
PASSWORD = ""


class MariaDBServer(Server):
    """A server with small buffers and otherwise its defaults, up in 1 s (3 s the first time)."""

    name = "mariadb"
    #: More of the server's options, from its next start on.
    options: Sequence[str] = ()

    @property
    def data(self) -> Path:
        return self.folder / "mariadb-data"

    def prepare(self) -> None:
        install = shutil.which("mariadb-install-db")
        assert install is not None, "there is no `mariadb-install-db`"
        # "normal" lets root in over TCP; the default would ask the unix socket who is there
        options = ["--auth-root-authentication-method=normal", "--skip-test-db", f"--user={getpass.getuser()}"]
        command = [install, "--no-defaults", f"--datadir={self.data}", *options]
        # Of its own: a server that starts deletes all temporary tables of a folder, another one's too.
        environment = {**os.environ, "TMPDIR": str(self.folder)}
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, f"MariaDB's data could not be made:\n{result.stdout}{result.stderr}"

    def command(self) -> list[str]:
        server = shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin") or shutil.which("mariadbd")
        assert server is not None, "there is no `mariadbd`"
        return [
            server,
            "--no-defaults",
            f"--user={getpass.getuser()}",
            f"--datadir={self.data}",
            f"--tmpdir={self.folder}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            f"--socket={self.folder / 'sock'}",
            f"--pid-file={self.folder / 'mariadb.pid'}",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--innodb-buffer-pool-size=128M",
            "--innodb-log-file-size=48M",
            "--innodb-flush-log-at-trx-commit=1",
            "--performance-schema=OFF",
            *self.options,
        ]

    def is_ready(self) -> bool:
        return self.rows("SELECT 1") == [(1,)]

    def create_database(self, name: str) -> None:
        self.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS `{name}`")

    def execute(self, statement: str, parameters: Sequence[object] = (), database: str | None = None) -> int:
        """Run one statement and commit it; how many rows it concerned."""
        with self.connection(database) as connection, connection.cursor() as cursor:
            return cursor.execute(statement, parameters or None)

    def rows(self, query: str, parameters: Sequence[object] = (), database: str | None = None) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self.connection(database) as connection, connection.cursor() as cursor:
            cursor.execute(query, parameters or None)
            return list(cursor.fetchall())

    @contextmanager
    def connection(self, database: str | None = None) -> Iterator[Connection[Cursor]]:
        """A connection of the test's own, in autocommit mode."""
        connection = pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user=USER,
            password=PASSWORD,
            database=database,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=5,
        )
        try:
            yield connection
        finally:
            connection.close()
