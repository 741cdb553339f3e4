"""The arrows between the packages run one way: worker → outbox, worker → entities; those two know nobody."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Where a program is put together; nothing imports it.
COMPOSITION = ROOT / "outbox" / "__main__.py"


def imported(module: Path) -> Iterator[str]:
    """The first name of everything a module imports."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize(
    ("package", "above"), [("outbox", {"worker", "entities", "compose"}), ("entities", {"worker", "outbox", "compose"})]
)
def test_a_package_does_not_know_those_above_it(package: str, above: set[str]) -> None:
    modules = [module for module in (ROOT / package).rglob("*.py") if module != COMPOSITION]

    assert len(modules) >= 10
    assert {
        str(module.relative_to(ROOT)): found for module in modules if (found := above & set(imported(module)))
    } == {}


def test_nothing_imports_the_module_that_puts_the_desk_together() -> None:
    for package in ("worker", "outbox", "entities", "compose"):
        for module in (ROOT / package).rglob("*.py"):
            assert "outbox.__main__" not in module.read_text(), module
