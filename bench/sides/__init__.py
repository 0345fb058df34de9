"""The sides that do the same work: the engine, the floor, and the plain way.

The floor (``driver_reads``, ``bare_writes``) is the driver alone, doing the same statements and nothing else;
for reads there is also the limit of server and wire, COPY thrown away. The plain way (``plain_*``) is what a
good engineer would first ship: ORM entities, related rows loaded 500 at a time, sums in Python, a few
statements per kernel. ``readers`` and ``writers`` hold all sides of one place.
"""
