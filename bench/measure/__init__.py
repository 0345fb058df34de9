"""How things are measured: in turns, counted on the wire, watched from the event loop, weighed in memory.

Nothing here knows what is measured.
"""
