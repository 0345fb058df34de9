"""Resource policies: named limits that owners share through their quotas.

``repository`` is what users of the package call; ``db_source`` holds the statements. Specs and answers are in
``entities.resource_policy``.
"""
