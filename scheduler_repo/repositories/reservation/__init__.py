"""Reservations: capacity held for pending sessions while running ones end for them.

Callers use ReservationRepository. Which reservations of a batch are made is decided in
``scheduling/admission/reservations.py``, on the state that ``database/locked_state.py`` locks and reads.
"""
