"""What the commands print: the console, tables, amounts in words, and the page of one snapshot.

Nothing here reads a database. The demo prints with it too.
"""
