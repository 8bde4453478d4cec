"""The reading store on SQL databases: one module a concern, then one a database.

What is written: ``recording`` (an append: the log entry), ``recent`` (what is not in chunks yet),
``flushing`` and ``chunks`` (how it gets there), ``sealing``, ``sealed`` and ``compression`` (where
it goes in time). What is asked: ``gathering`` brings all of it together for ``pages`` and
``aggregates``; ``series``, ``intake_log``, ``last_values``, ``refusals``, ``totals`` and
``deletion`` hold the other statements. ``steps`` and ``dialect`` say how a statement is written
once for all databases, ``points`` how many readings are handled at once. ``stepped`` is the port in
their terms; ``sqlite`` and ``postgresql`` run it.
"""
