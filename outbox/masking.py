"""Payloads as people may see them: pretty-printed, with the values of secrets masked.

A key is secret if its name contains one of a few words, however deep it lies. What is no JSON is searched as text: it
masks rather too much than too little, but a secret that stands without its name, or is encoded, is not seen.
"""

from __future__ import annotations

import json
import re

MASK = "***"

_WORDS = r"(?:passw|passphrase|pwd|contrase|secret|token|credential|api_?key)"
_SECRET_KEY = re.compile(_WORDS, re.IGNORECASE)

# In text: the key's word and the rest of its name, a quote (escaped where JSON lies in a JSON string), : or =, and a
# value: a string up to its closing quote or the end; a list or an object, whose end is not looked for; or a bare word.
_NAMED_IN_TEXT = re.compile(
    rf"""(?P<head>{_WORDS}[\w-]{{0,40}}(?:\\*["'])?\s{{0,20}}[:=]\s{{0,20}})
    (?!null\b|None\b)
    (?:(?P<quote>\\*["']).*?(?P<tail>(?<!\\)(?P=quote)|$) | [\[{{].* | [^\s,;&"'\]}}]+)""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)


def mask_json(raw: bytes, indent: int | None = 2) -> str:
    """The payload as text, its secrets replaced by ``***``. Never raises, whatever the bytes are.

    :param indent: spaces a level; None: all on one line.
    """
    for decode in (_as_json, _as_json_with_wrong_bytes):
        try:
            shown = json.dumps(_masked(decode(raw)), ensure_ascii=False, indent=indent)
            return shown.encode("utf-8", "backslashreplace").decode("utf-8")
        except (ValueError, RecursionError):
            continue
    return mask_text(raw.decode("utf-8", "backslashreplace"))


def mask_text(text: str) -> str:
    """Any text, with what follows a secret's name replaced by ``***``."""
    return _NAMED_IN_TEXT.sub(_mask_match, text)


def _as_json(raw: bytes) -> object:
    return json.loads(raw)  # finds out by itself whether it is UTF-8, -16 or -32


def _as_json_with_wrong_bytes(raw: bytes) -> object:
    return json.loads(raw.decode("utf-8", "surrogateescape"))


def _masked(value: object) -> object:
    if isinstance(value, dict):
        return {
            mask_text(key): MASK if _SECRET_KEY.search(key) and member is not None else _masked(member)
            for key, member in value.items()
        }
    if isinstance(value, list):
        return [_masked(member) for member in value]
    return mask_text(value) if isinstance(value, str) else value


def _mask_match(match: re.Match[str]) -> str:
    quote = match["quote"] or ""
    return f"{match['head']}{quote}{MASK}{match['tail'] or ''}"
