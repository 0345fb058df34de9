"""Owners: domains, their projects and users, and the users' keypairs.

Callers use OwnerRepository; only it, and the loader of whole clusters, use OwnerDBSource.
"""
