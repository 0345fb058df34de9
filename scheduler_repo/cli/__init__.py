"""The command ``scheduler-repo``.

``commands/`` has one file for each command, ``demo/`` the work of the largest one, ``output/`` what they print,
``process/`` what every run needs: signals, secrets, one line for an error, the cache. ``main`` is the console
script. No other package may import from here; ``--help`` must load neither SQLAlchemy nor rich, so commands
import those when they run.
"""
