"""The nouns: what repositories take and return, one file per entity.

A file holds the spec, the entity, the filter, the results and the rejections of its noun, as frozen structs.
Imports types, errors and validation only.
"""
