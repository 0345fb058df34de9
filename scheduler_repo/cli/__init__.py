"""The command line: a demo that runs by itself, the schema of a database, and what one tick sees."""
