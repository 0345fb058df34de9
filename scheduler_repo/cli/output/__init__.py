"""The output of the commands: the console, tables, amounts in words, the pages of a snapshot and of a session.

Nothing here reads a database. The demo prints with it too.
"""
