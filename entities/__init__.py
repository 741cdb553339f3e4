"""The application's entities: what a row is, what an operation on it means, and which keys of the world it takes.

One file an entity; what they share stands in `values` (attributes), `registry` (who is there), `envelope` and
`operations` (from bytes to row actions), `writesets` (what may run beside what) and `cache_value` (what the
application's cache holds).
"""
