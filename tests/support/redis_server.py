"""Redis with its append-only file on, so that a restart keeps what it held: the broker's messages and the cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import redis

from tests.support.server import Server


class RedisServer(Server):
    """A server that is up in 0.1 s.

    :param appendfsync: "everysec" (a kill loses nothing, a power cut a second), "always", or "no".
    """

    name = "redis"
    start_timeout = 20.0

    def __init__(self, folder: Path, appendfsync: str = "everysec") -> None:
        super().__init__(folder)
        self.appendfsync = appendfsync

    def prepare(self) -> None:
        (self.folder / "redis-data").mkdir(exist_ok=True)

    def command(self) -> list[str]:
        server = shutil.which("redis-server")
        assert server is not None, "there is no `redis-server`"
        place = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder / "redis-data")]
        keeping = ["--appendonly", "yes", "--appendfsync", self.appendfsync, "--save", ""]
        return [server, *place, *keeping]

    def is_ready(self) -> bool:
        """Whether it answers; while it loads its file it refuses."""
        with self.client() as client:
            return bool(client.ping())

    def url(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def client(self, database: int = 0) -> redis.Redis:
        """A client of the test's own; replies are bytes."""
        return redis.Redis(host="127.0.0.1", port=self.port, db=database, socket_connect_timeout=5)

    def flush(self) -> None:
        """Empty all its databases."""
        with self.client() as client:
            client.flushall()
