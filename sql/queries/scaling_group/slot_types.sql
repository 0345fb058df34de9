-- Every slot type, by its place in the amount arrays.
-- Parameters: none. Index: none, the table has at most 64 rows.
SELECT name, slot_index, units_per_whole, display_unit
FROM slot_types
ORDER BY slot_index
