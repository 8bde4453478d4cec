"""The reading store on SQL databases: one module a concern, then one a database.

``steps`` and ``dialect`` say how a statement is written once for all databases; ``recording``,
``pages``, ``aggregates``, ``series``, ``intake_log``, ``last_values``, ``refusals`` and
``deletion`` hold the statements; ``stepped`` is the port in their terms; ``sqlite`` and
``postgresql`` run it.
"""
