"""What every run of a command needs, whatever the command does.

``invocation`` runs the work and ends it at a signal, ``failure`` turns an error into one line and an exit code,
``secret_arguments`` keeps passwords out of the process list, ``servers`` opens the cache. For the commands and
the demo.
"""
