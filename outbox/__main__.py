"""``python -m outbox``: the operator's desk (cli.py)."""

from __future__ import annotations

from outbox.cli import app

if __name__ == "__main__":
    app(prog_name="python -m outbox")
