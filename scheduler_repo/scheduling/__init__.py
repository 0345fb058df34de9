"""Pure algorithms: structs in, structs out; no module here does I/O, reads a clock or logs.

``rules`` says whether a request fits, ``planner`` decides where sessions go, ``admission`` judges decisions
under locks, ``explain`` says why sessions wait, ``snapshot`` builds and encodes SchedulingData. Imports
entities and types only; anybody may call it.
"""
