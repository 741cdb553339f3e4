"""Finds the cached rows that are not true to the database, and makes them true by the way that a sync takes.

What a write or a sync is just changing looks wrong for a moment. So what looks wrong is looked at again, some seconds
later, and counts only if the very same value still stands there and is still wrong: a sync has had its time by then. What
is filled in the meantime, expires or is written again and again is not counted. Lists are not looked at: what they should
hold only the application knows.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from worker.cache.comparison import Fault, Suspicion, compare, entity_names, in_portions, scan_rows
from worker.cache.rows import Cache

#: How often what looks wrong is looked at again, and the pause before each time, in seconds.
LOOKS_AGAIN = 3
PAUSE_S = 2.0

#: How many keys are compared at a time.
BATCH = 500


@dataclass
class Report:
    """What a check has found.

    Parameters:
      checked: How many cached rows were compared.
      wrong: Those that are not true, by key, as they were found.
      repaired: How many of them are true now, or gone.
    """

    checked: int = 0
    wrong: dict[str, Fault] = field(default_factory=dict)
    repaired: int = 0

    def count(self, fault: Fault) -> int:
        """How many are wrong in this way."""
        return Counter(self.wrong.values())[fault]

    @property
    def is_true(self) -> bool:
        """Whether nothing wrong is left."""
        return self.repaired == len(self.wrong)


def check(
    cache: Cache,
    names: Collection[str] = (),
    *,
    repair: bool = False,
    batch: int = BATCH,
    pause: Callable[[float], object] = time.sleep,
    on_progress: Callable[[int, int], object] = lambda scanned, wrong: None,
) -> Report:
    """Compare all cached rows with the database.

    Parameters:
      names: The entities to look at; all if there are none.
      repair: Whether to make wrong values true, by the leases of `Cache.fill`.
      batch: How many keys are compared at a time.
      pause: Waits so many seconds between two looks.
      on_progress: Told now and then how many rows were compared, and how many of them look wrong.

    Raises Redis's and Peewee's errors.
    """
    report = Report()
    suspicions: dict[str, Suspicion] = {}
    for keys in _portions_of_cached(cache, names or entity_names(), batch):
        found = compare(cache.client, keys, cache.with_secrets)
        report.checked += found.checked
        suspicions.update(found.suspicions)
        on_progress(report.checked, len(suspicions))
    for _ in range(LOOKS_AGAIN):
        if not suspicions:
            break
        pause(PAUSE_S)
        suspicions = _still_wrong(cache, suspicions, batch)
        on_progress(report.checked, len(suspicions))
    report.wrong = {key: suspicion.fault for key, suspicion in sorted(suspicions.items())}
    if repair:
        for keys in in_portions(suspicions, batch):
            cache.fill(keys)
        report.repaired = len(suspicions) - len(_still_wrong(cache, suspicions, batch))
    return report


def _portions_of_cached(cache: Cache, names: Collection[str], batch: int) -> Iterator[list[str]]:
    """The keys of all cached rows. Those that come or go meanwhile may be missed, and one may be told twice."""
    cursor, waiting = 0, list[str]()
    while True:
        cursor, keys = scan_rows(cache.client, cursor, names)
        waiting += keys
        while len(waiting) >= batch or (waiting and cursor == 0):
            yield list(dict.fromkeys(waiting[:batch]))
            del waiting[:batch]
        if cursor == 0:
            return


def _still_wrong(cache: Cache, suspicions: dict[str, Suspicion], batch: int) -> dict[str, Suspicion]:
    """Those under which the same value stands as before and is still wrong."""
    still: dict[str, Suspicion] = {}
    for keys in in_portions(suspicions, batch):
        found = compare(cache.client, keys, cache.with_secrets).suspicions
        still.update((key, one) for key, one in found.items() if one.value == suspicions[key].value)
    return still
