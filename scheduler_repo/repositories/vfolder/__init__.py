"""Virtual folders: created, found, and listed by owner or by the session that mounts them.

Callers use VFolderRepository; VFolderDBSource serves it and the sessions returned with their mounts.
"""
