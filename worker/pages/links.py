"""Links between the pages: what is in them is percent-encoded, what is empty is left out."""

from __future__ import annotations

from urllib.parse import urlencode


def link(path: str, **fields: object) -> str:
    """The path with these fields as its query; a field may have several values."""
    given = {name: value for name, value in fields.items() if value not in (None, "", ())}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path
