"""What a search of scaling groups is narrowed by."""

from typing import Optional

from scheduler_repo.repositories.filtering import SearchFilter


class ScalingGroupFilter(SearchFilter, frozen=True, kw_only=True):
    """Which groups a search finds: all that is given must hold; None is not asked."""

    is_active: Optional[bool] = None
    is_public: Optional[bool] = None
    name_prefix: Optional[str] = None
