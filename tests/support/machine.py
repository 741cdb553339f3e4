"""What the tests need of the machine: which programs, what they are for, and the Debian packages that bring them.

Standard library only. Installing is done as root on Debian alone; elsewhere `missing` tells a person what to get.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import kafka_jars

#: Asked by Debian's package scripts before they start a service; exit code 101 forbids it.
POLICY = Path("/usr/sbin/policy-rc.d")

#: Where servers are that are not in an ordinary user's PATH.
SERVER_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))


@dataclass(frozen=True)
class Need:
    """One thing that tests stand on.

    :ivar programs: all of these must be found.
    :ivar packages: the Debian packages that bring them.
    """

    title: str
    programs: tuple[str, ...]
    packages: tuple[str, ...]


NEEDS = {
    # the packages with the programs only: the others would set up a system service
    "mariadb": Need("MariaDB", ("mariadbd", "mariadb-install-db"), ("mariadb-server-core", "mariadb-client-core")),
    "redis": Need("Redis", ("redis-server",), ("redis-server",)),
    "kafka": Need("Apache Kafka", ("java",), ("default-jre-headless",)),
    "kafka jars": Need("fetching Apache Kafka", ("mvn",), ("maven",)),
    "prometheus": Need("Prometheus", ("prometheus", "promtool"), ("prometheus",)),
    "chromium": Need("Chromium", ("chromium", "chromedriver"), ("chromium", "chromium-driver")),
}


class InstallFailed(Exception):
    """apt-get did not install a package; the text is what it said."""


def program(name: str) -> str | None:
    """The path of a program, servers included."""
    return shutil.which(name, path=SERVER_PATH)


def needed_by(server: str) -> list[Need]:
    """The needs of one of "mariadb", "redis", "kafka", "prometheus", "chromium"."""
    if server == "kafka" and not kafka_jars.are_fetched():
        return [NEEDS["kafka"], NEEDS["kafka jars"]]
    return [NEEDS[server]]


def missing(server: str) -> str:
    """What is missing for a server, as a sentence; empty if nothing is."""
    lacking = [(need, [name for name in need.programs if program(name) is None]) for need in needed_by(server)]
    parts = [
        f"{need.title} needs {' and '.join(programs)} (on Debian: {' '.join(need.packages)})"
        for need, programs in lacking
        if programs
    ]
    return "; ".join(parts)


def can_install() -> bool:
    """Whether this is Debian, and we are root."""
    return os.geteuid() == 0 and Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def install(packages: Iterable[str]) -> None:
    """Install Debian packages, without what they recommend, and without any service being started.

    :raises InstallFailed: if apt-get fails.
    """
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _no_services():
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            result = subprocess.run(
                ["apt-get", "--quiet", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            if result.returncode != 0:
                raise InstallFailed(f"apt-get {' '.join(command)} failed:\n{result.stdout[-3000:]}")


@contextmanager
def _no_services() -> Iterator[None]:
    """While the block runs, installed packages do not start their services. A policy that is there already stays."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)
