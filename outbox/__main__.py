"""``python -m outbox``: the operator's desk.

The one module of the package that looks upwards: a program is put together here, from the commands (worker.desk), what
operations mean (entities) and the store (this package). Nothing imports it.
"""

from __future__ import annotations

from worker.desk.program import main

if __name__ == "__main__":
    main()
