-- Add slot types at the next free indexes, in the order given, save those whose name or index was taken meanwhile.
-- Parameters: $1 names, $2 units per whole, $3 display units, pairwise. Index: slot_types_pkey, slot_types_slot_index_key.
-- No index is above 63, the last that an array of amounts has. Nobody locks anything first: of two that take the same index, the second waits for the first and adds nothing there.
INSERT INTO slot_types (name, slot_index, units_per_whole, display_unit)
SELECT name, (SELECT coalesce(max(slot_index), -1) FROM slot_types) + place, units_per_whole, display_unit
FROM unnest($1::text[], $2::int8[], $3::text[]) WITH ORDINALITY
     AS given (name, units_per_whole, display_unit, place)
WHERE (SELECT coalesce(max(slot_index), -1) FROM slot_types) + place <= 63
ORDER BY place
ON CONFLICT DO NOTHING
