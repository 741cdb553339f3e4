"""An operator's own editor on a text: a file that only the operator can read, gone when the editor is."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

#: Tried in this order where neither VISUAL nor EDITOR is set.
EDITORS = ("sensible-editor", "editor", "nano", "vim", "vi")

#: Lines that begin so, above the text, are told to the operator and are no part of it.
REMARK = "# "


class NoEditor(Exception):
    """There is no editor, or it failed. The text says what to do."""


def edit_text(text: str, remarks: str, suffix: str = ".json") -> str | None:
    """The text as the operator left it; None if it was left as it is.

    Parameters:
      remarks: Shown above the text, line by line.

    Raises `NoEditor`.
    """
    command = _command()
    head = "".join(f"{REMARK}{line}\n" for line in remarks.splitlines())
    with tempfile.TemporaryDirectory(prefix="outbox-") as folder:  # 0700: secrets that were typed lie here for a while
        file = Path(folder) / f"payload{suffix}"
        file.write_text(f"{head}{text}\n", encoding="utf-8")
        try:
            code = subprocess.run([*command, str(file)]).returncode
        except OSError as error:
            raise NoEditor(f"{command[0]} cannot be started: {error.strerror}; set EDITOR, or use --set") from None
        if code:
            raise NoEditor(f"{command[0]} ended with code {code}: nothing was taken")
        edited = file.read_text(encoding="utf-8", errors="surrogateescape")
    lines = edited.splitlines(keepends=True)
    while lines and lines[0].startswith(REMARK.strip()):
        lines.pop(0)
    result = "".join(lines).rstrip("\n")
    return None if result == text.rstrip("\n") else result


def _command() -> list[str]:
    named = os.environ.get("VISUAL", "").strip() or os.environ.get("EDITOR", "").strip()
    if named:
        return shlex.split(named)
    found = next((path for name in EDITORS if (path := shutil.which(name)) is not None), None)
    if found is None:
        raise NoEditor("there is no editor: set EDITOR, or use --set ATTRIBUTE=VALUE")
    return [found]
