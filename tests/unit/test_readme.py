"""The README and .env.example say what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from outbox.states import State
from worker.settings import describe_settings, load_settings, variables

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()


def test_the_readme_describes_every_setting_as_it_is() -> None:
    assert describe_settings(as_markdown=True) in README


def test_the_example_names_every_variable_with_its_default() -> None:
    named = dict(line.split("=", 1) for line in EXAMPLE.splitlines() if line and not line.startswith("#"))

    assert named == {variable.name: variable.default for variable in variables()}
    assert load_settings(named) == load_settings({})


def test_the_readme_describes_every_state() -> None:
    assert [state.label for state in State if f"| `{state.label}` |" not in README] == []


def test_every_file_that_the_readme_names_is_there() -> None:
    named = set(re.findall(r"`((?:worker|entities|outbox|compose|tests)/[\w./-]+)`", README))

    assert len(named) >= 5
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("program", ["worker.ingest", "worker.dashboard", "outbox"])
def test_every_program_explains_itself(program: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", program, "--help"]

    shown = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)

    assert (shown.returncode, shown.stderr) == (0, "")
    assert "usage" in shown.stdout.lower()


def test_the_example_model_of_the_readme_is_one() -> None:
    code = re.findall(r"```python\n(class Mentor.*?)```", README, re.DOTALL)[0]
    imports = (
        "from entities.base import Entity\nfrom entities.business import Business\nfrom entities.values import *\n"
    )
    check = "\nassert set(Mentor.attributes().by_wire_name) >= {'fullName', 'businessId'}"

    ran = subprocess.run(
        [sys.executable, "-c", imports + code + check], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )

    assert ran.returncode == 0, ran.stderr
