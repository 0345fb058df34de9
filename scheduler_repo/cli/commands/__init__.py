"""One file for each command: its options, what it asks the repositories for, and its exit code.

``command_group`` collects them. A command imports SQLAlchemy, rich and the repositories inside its function, so
that ``--help`` stays fast.
"""
