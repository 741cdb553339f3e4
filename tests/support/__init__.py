"""What the tests stand on: real servers on free loopback ports, the service's own processes, and waiting for events.

`environment`, `machine` and `kafka_jars` use the standard library only, for `tests/run` calls them before anything is
installed. The others need requirements-dev.txt.
"""
