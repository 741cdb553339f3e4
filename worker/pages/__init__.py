"""Our pages in the browser: how things stand, the dead letters, and bringing them back.

They show what the operator's desk shows and do what it does, by the same functions (``worker.desk``). What is here is HTTP,
the guard before it, and the templates.
"""
