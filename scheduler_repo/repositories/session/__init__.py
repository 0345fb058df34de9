"""Sessions: found, searched, created, and moved from status to status one at a time.

Callers use SessionRepository, with a SessionCacheSource where single sessions are read often. Which sessions of
a batch can be created is decided in ``scheduling/admission/creation.py``; ``database/session_search.py`` builds
the statement of a search. The loader of whole clusters uses SessionDBSource too.
"""
