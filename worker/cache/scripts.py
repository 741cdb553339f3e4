"""The Lua scripts of the cache: each stands in a file beside this one, and runs on the server as one step."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, cast

import redis


def run_script(client: redis.Redis, name: str, keys: list[str], arguments: list[Any]) -> Any:
    """Run the script in `<name>.lua`: by its hash, which the server knows from the second time on."""
    script = cast(Any, _script(name))
    return script(keys=keys, args=arguments, client=client)


@cache
def _script(name: str) -> Any:
    text = (Path(__file__).parent / f"{name}.lua").read_text()
    return redis.Redis().register_script(text)
