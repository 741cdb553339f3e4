"""Masks secrets in a text that is about to leave the process: a log line, a dead letter's reason.

It works on the final text, whatever it was made from: JSON, JSON inside JSON, a Python repr, a repr of MessagePack, a
`key=value`, a URL, a database's error. It masks rather too much than too little. What it cannot see is a secret that
stands alone, without its name, and is not one of the literals it was given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = "***"

#: Shorter literals are not masked by themselves: a password `a` would take every `a` out of the log.
SHORTEST_LITERAL = 4

# The name may go on (passwordHash, password_hash, tokenValue); what stands before it does not matter.
_NAME = r"(?:password|passwd|secret|token)[\w-]{0,40}"
# A quote and the backslashes before it: JSON inside JSON has \" for ", and one level deeper \\\".
_QUOTE = r"\\*[\"']"

# Most lines name nothing: one search spares them the rules (11 µs a line instead of 43).
_ANY_NAME = re.compile(r"passw(?:or)?d|secret|token", re.IGNORECASE)

_BY_NAME: tuple[tuple[re.Pattern[str], str], ...] = (
    # "passwordHash": "…"   'password_hash': b'…'   password_hash='…'   An unclosed value is masked to the end.
    (
        re.compile(
            rf"(?P<head>{_NAME}(?:{_QUOTE})?\s*[:=]\s*b?(?P<quote>{_QUOTE})).*?(?P<tail>(?<!\\)(?P=quote)|$)",
            re.IGNORECASE | re.DOTALL,
        ),
        rf"\g<head>{MASK}\g<tail>",
    ),
    # "passwordHash": 123   (null stays: that it is missing is no secret)
    (
        re.compile(rf"(?P<head>{_NAME}{_QUOTE}\s*:\s*)(?!null|None|\*)[^\s\"',}}\]\\\[{{]+", re.IGNORECASE),
        rf"\g<head>{MASK}",
    ),
    # "passwordHash": ["…   or {"…   Where it ends is not looked for: masked to the end.
    (re.compile(rf"(?P<head>{_NAME}{_QUOTE}\s*:\s*)[\[{{].*", re.IGNORECASE | re.DOTALL), rf"\g<head>{MASK}"),
    # password=…
    (re.compile(rf"(?P<head>{_NAME}=)(?!\*)[^\s\"'&,;)}}\]]+", re.IGNORECASE), rf"\g<head>{MASK}"),
    # passwordHash\xd9<…   a repr of MessagePack: the value's header, then the value
    (re.compile(rf"(?P<head>{_NAME}(?:\\x[0-9a-f]{{2}})+)[^\\\"']*", re.IGNORECASE), rf"\g<head>{MASK}"),
    # Incorrect string value: '…' for column `usuarios`.`password_hash`   MariaDB and MySQL, 1366 and 1292
    (
        re.compile(
            r"(?P<head>value:? ')[^']*(?P<tail>' for column ['`\w.]*(?:password|passwd|secret|token))",
            re.IGNORECASE,
        ),
        rf"\g<head>{MASK}\g<tail>",
    ),
)

# How JSON may write a letter, deeper in JSON with more backslashes: the name of a secret is to be known all the same.
_ESCAPED_LETTER = re.compile(r"\\+u00([46][1-9a-f]|[57][0-9a])", re.IGNORECASE)

# redis://user:…@host
_URL_PASSWORD = re.compile(r"(?P<head>\w://[^\s/@:\"']*:)[^\s/@\"']*(?=@)")


class Redactor:
    """Masks by name, and these literals wherever they stand.

    Parameters:
      literals: known secrets, as the settings have them. They are found in their URL-quoted and escaped forms too.
    """

    def __init__(self, literals: Iterable[str] = ()) -> None:
        forms = {
            form
            for literal in literals
            for form in (literal, quote(literal, safe=""), json.dumps(literal)[1:-1], repr(literal)[1:-1])
            if len(form) >= SHORTEST_LITERAL
        }
        longest_first = sorted(forms, key=len, reverse=True)
        self._literals = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """The text with its secrets masked."""
        if self._literals is not None:
            text = self._literals.sub(MASK, text)
        if "\\u00" in text:
            text = _ESCAPED_LETTER.sub(lambda match: chr(int(match[1], 16)), text)
        if _ANY_NAME.search(text):
            for rule, replacement in _BY_NAME:
                text = rule.sub(replacement, text)
        return _URL_PASSWORD.sub(rf"\g<head>{MASK}", text)
