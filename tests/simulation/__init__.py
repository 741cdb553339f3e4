"""Histories of the whole service in one thread, drawn from a seed, with everything that can go wrong in them.

The production code decides; small models stand in for the connections: Kafka's topic and consumer, Redis (its scripts run in a
real Lua), Dramatiq's queues, MySQL (SQLite in memory, with a server's faults in front of it). A history draws operations and
faults (``plan``), runs the threads of ingests and workers as greenlets in an order of its own choice, interrupting them at the
fault points of the production code (``world``), ends the faults, waits until nothing moves, and is judged against the promises
of the design (``checker``). ``tests/simulation/run`` runs as many as one wants; ``mutants`` shows that the judge is awake.
"""
