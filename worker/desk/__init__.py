"""The operator's desk, ``python -m outbox``: what waits and why, what died, and bringing it back, mended or not.

It stands above the outbox (what is stored), the entities (what an operation means) and the service's own rules (what the
planner and the actors would do), and asks each of them. What it can do are functions with typed results, apart from
their printing (``commands_*``, ``show_*``): a page in a browser can call the same.
"""
