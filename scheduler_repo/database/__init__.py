"""PostgreSQL, below the entities: the engine and its two transactions, statements, locks and their order.

``idempotent_write`` runs writes once per operation id, ``locks``, ``lookups`` and ``agent_counters`` hold the
statements that several repositories share, ``schema`` makes the tables. Used by the repositories; users need
``create_engine`` only.
"""
