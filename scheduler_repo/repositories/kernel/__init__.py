"""Kernels: the containers of sessions, read only; they are written with their sessions.

Callers use KernelRepository; KernelDBSource serves it and the sessions returned with their kernels.
"""
