"""Payloads as an operator may edit them: each secret is a numbered placeholder that stands for "unchanged".

``***unchanged-1***`` is put back where it stands, also when it was moved to another place; an operator who wants another
value writes it there. What is a secret is decided by outbox.masking, as everywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from outbox.masking import is_secret_name, mask_string, replace_in_broken

_PLACEHOLDER = re.compile(r"\*\*\*unchanged-(\d+)\*\*\*")


class UnknownPlaceholder(ValueError):
    """A placeholder that stands for nothing, or stands inside of other text."""


class Concealed:
    """A payload with its secrets taken out.

    ``text`` is for the editor: pretty JSON, or the bytes as text where they are no JSON that can be written back as it was.
    """

    def __init__(self, raw: bytes) -> None:
        self._secrets: list[Any] = []
        self.document: Any = None
        self.is_json = False
        try:
            document = json.loads(raw)
            json.dumps(document, allow_nan=False)
        except (ValueError, RecursionError):
            self.text = replace_in_broken(raw.decode("utf-8", "surrogateescape"), self._conceal)
            self.text = self.text.encode("utf-8", "backslashreplace").decode("utf-8")
            return
        self.is_json = True
        self.document = self._concealed(document)
        self.text = _written(self.document, indent=2)

    def restore(self, text: str) -> bytes:
        """The edited text as a payload, its placeholders filled in again.

        A text that is JSON becomes compact JSON; any other stays as it is.

        :raises UnknownPlaceholder: a placeholder was made up or cut.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return self._filled(text).encode("utf-8", "surrogateescape")
        return self.encode(document)

    def encode(self, document: Any) -> bytes:
        """A document as a payload, its placeholders filled in again; raises `UnknownPlaceholder`."""
        return _written(_each_text(document, self._restored), separators=(",", ":")).encode()

    def _restored(self, text: str) -> Any:
        whole = _PLACEHOLDER.fullmatch(text)
        if whole is not None:
            return self._secret(whole)
        return self._filled(text)

    def _filled(self, text: str) -> str:
        """With every placeholder in it filled in, and those that are in what was filled in: a rest may hold some."""
        for _ in range(len(self._secrets) + 1):
            text = _PLACEHOLDER.sub(lambda found: str(self._secret(found)), text)
        return text

    def _secret(self, found: re.Match[str]) -> Any:
        number = int(found[1])
        if not 1 <= number <= len(self._secrets):
            raise UnknownPlaceholder(
                f"{found[0]} stands for nothing: leave the placeholders as they are, or write a value"
            )
        return self._secrets[number - 1]

    def _conceal(self, secret: Any) -> str:
        self._secrets.append(secret)
        return f"***unchanged-{len(self._secrets)}***"

    def _concealed(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {
                self._string(key): self._conceal(member)
                if is_secret_name(key) and member is not None
                else self._concealed(member)
                for key, member in value.items()
            }
        if isinstance(value, list):
            return [self._concealed(member) for member in value]
        return self._string(value) if isinstance(value, str) else value

    def _string(self, text: str) -> str:
        """A string in which a secret stands is concealed whole."""
        return text if mask_string(text) == text else self._conceal(text)


def _written(document: Any, **form: Any) -> str:
    """As JSON, letters as they are; escaped where one is half a surrogate pair, which no file can hold."""
    text = json.dumps(document, ensure_ascii=False, **form)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(document, **form)
    return text


def _each_text(value: Any, change: Callable[[str], Any]) -> Any:
    if isinstance(value, dict):
        return {str(change(key)): _each_text(member, change) for key, member in value.items()}
    if isinstance(value, list):
        return [_each_text(member, change) for member in value]
    return change(value) if isinstance(value, str) else value
