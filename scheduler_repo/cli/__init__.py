"""The command ``scheduler-repo``.

``commands/`` has one file for each command, ``output/`` what they print, ``process/`` what every run needs:
signals, secrets, one line for an error, the servers to connect to. ``main`` is the console script. Only
``demo/`` may import from here; ``--help`` must load neither SQLAlchemy nor rich, so commands import those when
they run.
"""
