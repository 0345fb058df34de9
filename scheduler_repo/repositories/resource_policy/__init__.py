"""Resource policies: limits that owners share through their quotas; callers use ResourcePolicyRepository."""
