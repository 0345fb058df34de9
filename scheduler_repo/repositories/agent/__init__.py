"""The agents of scaling groups, from registered to terminated.

Callers use AgentRepository; only it, and the loader of whole clusters, use AgentDBSource.
"""
