"""The repository's own Python environment, `.venv`: made when it is missing, reused while the requirements are the same.

Standard library only. What is installed is noted in `.venv/installed.json` as a hash of each requirements file, so that two
commands with different needs share one environment and neither installs what is there.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST_PYTHON = (3, 11)

#: Interpreters to look for when the one that runs this is too old, the newest first.
OTHER_PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11")


class EnvironmentFailed(Exception):
    """The environment could not be made; the text says what a person can do."""


def use_a_new_enough_python() -> None:
    """Return if this is Python 3.11 or newer; else run the same command again with one that is.

    :raises EnvironmentFailed: if there is none.
    """
    if sys.version_info >= OLDEST_PYTHON:
        return
    for name in OTHER_PYTHONS:
        path = shutil.which(name)
        if path is not None:
            os.execv(path, [path, *sys.argv])
    found = ".".join(str(number) for number in sys.version_info[:2])
    raise EnvironmentFailed(f"Python 3.11 or newer is needed; this is {found}, and none of {OTHER_PYTHONS} is there")


def go_on_inside(root: Path) -> None:
    """Return if this is the Python of `root`/.venv; else make that with all that the tests need, and run the same command in it.

    Ends the process with a word to the person if it cannot be made.
    """
    if Path(sys.prefix).resolve() == (root / ".venv").resolve():
        return
    try:
        use_a_new_enough_python()
        python = ensure(root, "requirements-dev.txt")
    except EnvironmentFailed as error:
        sys.exit(f"{sys.argv[0]}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    os.execv(python, [str(python), *sys.argv])


def ensure(root: Path, *requirements: str) -> Path:
    """The Python of `root`/.venv, with everything installed that the requirements files (and those they include) name.

    :param requirements: names of files in `root`.
    :raises EnvironmentFailed: if the environment cannot be made or a package not be installed.
    """
    folder = root / ".venv"
    python = folder / "bin" / "python"
    stamp = folder / "installed.json"
    wanted = {"python": f"{sys.version_info[0]}.{sys.version_info[1]}"}
    installed = _read(stamp)
    if installed.get("python") != wanted["python"] or not _runs(python):
        shutil.rmtree(folder, ignore_errors=True)
        _make(folder)
        installed = dict(wanted)
    for name in requirements:
        for file in _with_included(root / name):
            wanted[str(file.relative_to(root))] = hashlib.sha256(file.read_bytes()).hexdigest()
    if any(installed.get(name) != digest for name, digest in wanted.items()):
        print(f"installing {', '.join(requirements)} into {folder}", flush=True)
        files = [option for name in requirements for option in ("--requirement", str(root / name))]
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *files]
        if subprocess.run(pip).returncode != 0:
            raise EnvironmentFailed(f"pip could not install {', '.join(requirements)}; what it said stands above")
        stamp.write_text(json.dumps({**installed, **wanted}, indent=1))
    return python


def can_make() -> bool:
    """Whether this Python can make environments. Debian's cannot without the package python3-venv."""
    return importlib.util.find_spec("ensurepip") is not None or _virtualenv() is not None


def _make(folder: Path) -> None:
    if importlib.util.find_spec("ensurepip") is not None:
        command = [sys.executable, "-m", "venv", str(folder)]
    else:
        virtualenv = _virtualenv()
        if virtualenv is None:
            raise EnvironmentFailed(
                f"{sys.executable} cannot make a virtual environment: it lacks venv's ensurepip, and there is no "
                "virtualenv either. On Debian: apt-get install python3-venv"
            )
        command = [*virtualenv, "--quiet", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise EnvironmentFailed(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")


def _virtualenv() -> list[str] | None:
    if importlib.util.find_spec("virtualenv") is not None:
        return [sys.executable, "-m", "virtualenv"]
    found = shutil.which("virtualenv")
    return None if found is None else [found, "--python", sys.executable]


def _runs(python: Path) -> bool:
    return python.exists() and subprocess.run([str(python), "-c", "import pip"], capture_output=True).returncode == 0


def _read(stamp: Path) -> dict[str, str]:
    try:
        return dict(json.loads(stamp.read_text()))
    except (OSError, ValueError):
        return {}


def _with_included(file: Path) -> list[Path]:
    files = [file]
    for line in file.read_text().splitlines():
        option, _, name = line.strip().partition(" ")
        if option in ("-r", "--requirement"):
            files += _with_included(file.parent / name.strip())
    return files
