"""Ours in real containers: compose/compose.yaml without its servers, on the host's network, where the tests' servers listen.

Docker's daemon is the one that the command `docker` reaches (DOCKER_HOST), with containers on this machine. Nothing is pulled:
the image's base has to be in the daemon already, under the name in CONTAINER_BASE, or as the Dockerfile's own. CONTAINER_IMAGE
names an image built before.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "compose"

#: A base with Python 3.11 or newer as `python`.
BASE = os.environ.get("CONTAINER_BASE") or "python:3.12-slim"

#: An image that is there already, to be taken as it is.
READY_IMAGE = os.environ.get("CONTAINER_IMAGE")

#: The image that tests build if none is given. It is left in the daemon, so that the next build finds its layers.
IMAGE = READY_IMAGE or "outbox-under-test"

PROGRAMS = ("ingest", "actors", "dashboard")

#: Seconds. A build copies whole file systems where the storage driver has no layers (vfs).
BUILD_TIMEOUT, COMMAND_TIMEOUT = 900, 300


def lacking() -> str:
    """Why no containers can be run here, as a sentence; empty if they can."""
    for tool in ("docker", "docker-compose"):
        if shutil.which(tool) is None:
            return f"there is no {tool}"
    if _docker("version").returncode != 0:
        return "no docker daemon answers (DOCKER_HOST says where one is)"
    needed = READY_IMAGE or BASE
    if _docker("image", "inspect", needed).returncode != 0:
        return f"docker has no image {needed} (CONTAINER_BASE names another base, CONTAINER_IMAGE a finished image)"
    return ""


def build_image() -> None:
    """Build compose/Dockerfile as it is now, unless a finished image is given."""
    if READY_IMAGE:
        return
    building = ["build", "--network", "host", "--build-arg", f"BASE={BASE}", "--tag", IMAGE]
    built = _docker(*building, "--file", str(COMPOSE / "Dockerfile"), str(ROOT), timeout=BUILD_TIMEOUT)
    assert built.returncode == 0, f"the image could not be built:\n{built.stdout[-3000:]}{built.stderr[-3000:]}"


class Containers:
    """The composition's services ingest, actors and dashboard.

    What differs from compose.yaml: the host's network instead of published ports, and what the settings say.

    :param folder: for the files that are made of compose.yaml.
    :param settings: environment variables, as from `settings_for`; the outbox and the logs stay where the image has them.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        environment = {name: value for name, value in settings.items() if name not in ("OUTBOX_PATH", "LOG_DIR")}
        environment |= {"METRICS_HOST": "127.0.0.1", "DASHBOARD_HOST": "127.0.0.1", "ACTORS_METRICS_PORT": "0"}
        ours = {"image": IMAGE, "network_mode": "host", "environment": environment}
        # Compose knows no way to take a published port away, and the host's network forbids them.
        lines = (COMPOSE / "compose.yaml").read_text().splitlines()
        (folder / "compose.yaml").write_text("\n".join(line for line in lines if not line.startswith("    ports: ")))
        # JSON is YAML too
        (folder / "override.yaml").write_text(json.dumps({"services": dict.fromkeys(PROGRAMS, ours)}))
        files = [f"--file={folder / name}" for name in ("compose.yaml", "override.yaml")]
        self._project = ["--project-name", f"outbox-test-{os.getpid()}", "--project-directory", str(COMPOSE), *files]

    def start(self) -> None:
        """Make and start all three; returns when their processes are started."""
        self._compose("up", "--detach", "--no-build")

    def stop(self) -> None:
        """SIGTERM to all, and SIGKILL to those that are not gone after their `stop_grace_period`."""
        self._compose("stop")

    def remove(self) -> None:
        """Kill and remove the containers and their volumes."""
        self._compose("down", "--volumes", "--timeout", "0")

    def kill(self, program: str) -> None:
        """SIGKILL to a container; nobody starts it again."""
        self._docker("kill", self._container(program))

    def start_again(self, program: str) -> None:
        """Start a container that has ended."""
        self._docker("start", self._container(program))

    def run_in(self, program: str, *command: str) -> str:
        """What a command prints in the container.

        :raises AssertionError: if it fails.
        """
        return self._docker("exec", self._container(program), *command)

    def start_in(self, program: str, *command: str) -> None:
        """Start a command in the container and wait for nothing: it may end the container, and itself with it."""
        self._docker("exec", "--detach", self._container(program), *command)

    def state(self, program: str) -> dict[str, Any]:
        """Docker's State of the container: Status, ExitCode, Health …"""
        return dict(self._inspect(program)["State"])

    def health(self) -> dict[str, str]:
        """What Docker says of each: "starting", "healthy" or "unhealthy"."""
        return {program: self.state(program)["Health"]["Status"] for program in PROGRAMS}

    def restarts(self, program: str) -> int:
        """How often Docker has started the container again by itself."""
        return int(self._inspect(program)["RestartCount"])

    def log(self, program: str) -> str:
        """All that the program has printed."""
        return self._docker("logs", self._container(program))

    def told(self) -> str:
        """State and last words of each, as they are shown with a failure."""
        return "\n".join(f"--- {program}: {self.state(program)}\n{self.log(program)[-3000:]}" for program in PROGRAMS)

    def _inspect(self, program: str) -> dict[str, Any]:
        return dict(json.loads(self._docker("inspect", self._container(program)))[0])

    def _container(self, program: str) -> str:
        return f"{self._project[1]}_{program}_1"

    def _compose(self, *command: str) -> str:
        return _output(_run("docker-compose", *self._project, *command))

    def _docker(self, *command: str) -> str:
        return _output(_docker(*command))


def _output(ended: subprocess.CompletedProcess[str]) -> str:
    assert ended.returncode == 0, f"{ended.args}: exit code {ended.returncode}\n{ended.stdout}{ended.stderr}"
    return ended.stdout + ended.stderr


def _docker(*command: str, timeout: float = COMMAND_TIMEOUT) -> subprocess.CompletedProcess[str]:
    return _run("docker", *command, timeout=timeout)


def _run(*command: str, timeout: float = COMMAND_TIMEOUT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)
