"""The reading store on SQL databases: one module a concern, then one a database.

What is written: ``recording`` (an append: the log entry), ``recent`` (what is not in chunks yet),
``flushing`` and ``chunks`` (how it gets there), ``sealing``, ``sealed`` and ``compression`` (where
it goes in time), ``rolling_up`` and ``rollups`` (what is derived), ``expiry``, ``floors`` and
``removal`` (how it goes for good). What is asked: ``gathering`` brings the readings together,
``coverage`` says for which hours rollups stand instead; ``pages``,
``aggregates`` and ``shapes`` answer. ``series``, ``intake_log``, ``last_values``, ``refusals``,
``totals`` and ``deletion`` hold the other statements. ``steps`` and ``dialect`` say how a statement
is written once for all databases, ``points`` how many readings are handled at once. ``stepped`` is
the port in their terms, ``upkeep`` what happens to readings in time, ``served`` what the servers
share; ``sqlite``, ``postgresql`` and ``mariadb`` run it.
"""
