"""The decisions of the writes, made in memory on locked rows: which items of a batch are accepted.

Repositories read the locked rows, call a function of this folder, and write what it accepted.
"""
