"""The data-access engine under a scheduler of compute sessions, on PostgreSQL with Redis in front."""
