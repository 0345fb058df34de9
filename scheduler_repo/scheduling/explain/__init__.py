"""Why sessions wait: one reason per session, one session in full, and both as text.

Asks the same rules as the planner and the write gate; used by the command line and by services.
"""
