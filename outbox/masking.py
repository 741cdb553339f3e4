"""Payloads as people may see them: pretty-printed, with the values of secrets masked.

A key is secret if its name contains one of a few words, however deep it lies. What is no JSON is searched as text: it
masks rather too much than too little, up to the whole rest where it cannot tell where a secret ends. A secret that stands
without its name is not seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

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

# What may stand for a letter of a name in JSON that nobody could decode: \u0070
_ESCAPED_ASCII = re.compile(r"\\+u00([2-7][0-9a-f])", re.IGNORECASE)

# The name of a secret that the rule above has not masked the value of.
_LEFT_OPEN = re.compile(
    rf"(?P<word>{_WORDS})[\w-]{{0,40}}+(?!(?:\\*[\"'])?\s{{0,20}}[:=]\s{{0,20}}(?:(?:\\*[\"'])?\*\*\*|null\b|None\b))",
    re.IGNORECASE,
)

# A masked value that is followed by something else than a sign of JSON: it may have been a part of the secret only.
_GOES_ON = re.compile(r"\*\*\*(?:\\*[\"'])?+(?!\s*(?:[,}\]&;]|$))")


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
    # UTF-16 that was cut is legible without its zeros
    return _mask_broken(raw.replace(b"\0", b"").decode("utf-8", "backslashreplace"))


def mask_text(text: str) -> str:
    """Any text, with what follows a secret's name replaced by ``***``."""
    return replace_in_text(text, lambda secret: MASK)


def mask_string(text: str) -> str:
    """A string of a payload; one with quotes in it may be JSON itself."""
    return _mask_broken(text) if '"' in text or "\\" in text else mask_text(text)


def is_secret_name(name: str) -> bool:
    """Whether the value under this key is a secret."""
    return _SECRET_KEY.search(name) is not None


def replace_in_text(text: str, conceal: Callable[[str], str]) -> str:
    """Any text, with each value that follows a secret's name replaced by what ``conceal`` makes of it; quotes stay."""

    def replaced(match: re.Match[str]) -> str:
        head, quote, tail = match["head"], match["quote"] or "", match["tail"] or ""
        secret = match[0][len(head) + len(quote) : len(match[0]) - len(tail)]
        return f"{head}{quote}{conceal(secret)}{tail}"

    return _NAMED_IN_TEXT.sub(replaced, text)


def replace_in_broken(text: str, conceal: Callable[[str], str]) -> str:
    """Text that began as JSON and is none any more: what follows a secret's name in an unknown way is replaced to the end.

    :param conceal: what it makes of a secret must begin with ``MASK``.
    """
    concealed = replace_in_text(_ESCAPED_ASCII.sub(lambda match: chr(int(match[1], 16)), text), conceal)
    left_open = _LEFT_OPEN.search(concealed)
    if left_open is None:
        return concealed
    end = left_open.end("word")
    return f"{concealed[:end]}{conceal(concealed[end:])}"


def _mask_broken(text: str) -> str:
    masked = replace_in_broken(text, lambda secret: MASK)
    goes_on = _GOES_ON.search(masked)
    return masked if goes_on is None else f"{masked[: goes_on.start()]}{MASK}"


def _as_json(raw: bytes) -> object:
    return json.loads(raw)  # finds out by itself whether it is UTF-8, -16 or -32


def _as_json_with_wrong_bytes(raw: bytes) -> object:
    return json.loads(raw.decode("utf-8", "surrogateescape"))


def _masked(value: object) -> object:
    if isinstance(value, dict):
        return {
            mask_string(key): MASK if is_secret_name(key) and member is not None else _masked(member)
            for key, member in value.items()
        }
    if isinstance(value, list):
        return [_masked(member) for member in value]
    return mask_string(value) if isinstance(value, str) else value
