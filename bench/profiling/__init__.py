"""Profiles of the engine's side of a suite: where a call's time and memory go, as one folder of pages.

``trace`` records what passes on the engine's connections, ``phases`` makes a table of it, ``passes`` runs a
case under each instrument in turn, ``kept`` is what a folder holds, and ``pages`` what a browser shows of it.
"""
