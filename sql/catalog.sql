-- What PostgreSQL's catalogs say of the named tables of a schema and of its functions: kind, name and definition of each
-- object, as texts that can be compared between two schemas.
-- Parameters (named, as SQLAlchemy writes them): schema, tables. The search_path must be the schema, so that no text names it.
WITH tables AS (
    SELECT c.*
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = CAST(:schema AS text) AND c.relname = ANY (CAST(:tables AS text[]))
      AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
),
identities AS (
    SELECT d.refobjid AS table_oid, d.refobjsubid AS attnum, s.*
    FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_sequence s ON s.seqrelid = d.objid
    WHERE d.deptype = 'i' AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
)
SELECT 'table' AS kind, t.relname::text AS name, concat_ws(', ',
    CASE t.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'f' THEN 'foreign table'
        ELSE 'view' END,
    CASE t.relpersistence WHEN 'p' THEN 'logged' WHEN 'u' THEN 'unlogged' ELSE 'temporary' END,
    (SELECT 'with (' || string_agg(o, ', ' ORDER BY o) || ')' FROM unnest(t.reloptions) o),
    CASE WHEN t.relrowsecurity THEN 'row level security' END,
    CASE WHEN t.relforcerowsecurity THEN 'forced row level security' END) AS definition
FROM tables t
UNION ALL
SELECT 'column', t.relname || '.' || a.attname, concat_ws(' ',
    format_type(a.atttypid, a.atttypmod),
    CASE WHEN a.attcollation <> y.typcollation THEN 'COLLATE ' || quote_ident(l.collname) END,
    CASE WHEN a.attnotnull THEN 'NOT NULL' || CASE WHEN EXISTS (
        SELECT FROM pg_catalog.pg_constraint k
        WHERE k.conrelid = t.oid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated)
        THEN ' NOT VALID' ELSE '' END END,
    CASE WHEN a.attidentity <> '' THEN format(
        'GENERATED %s AS IDENTITY (%s START %s INCREMENT %s FROM %s TO %s CACHE %s%s)',
        CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, format_type(i.seqtypid, NULL),
        i.seqstart, i.seqincrement, i.seqmin, i.seqmax, i.seqcache, CASE WHEN i.seqcycle THEN ' CYCLE' END) END,
    CASE WHEN a.attgenerated = '' THEN 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid)
        ELSE format('GENERATED ALWAYS AS (%s) %s', pg_get_expr(d.adbin, d.adrelid),
            CASE a.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END) END)
FROM tables t
JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
LEFT JOIN identities i ON i.table_oid = t.oid AND i.attnum = a.attnum
UNION ALL
-- NOT NULL is said of the column; PostgreSQL 18 keeps it as a constraint too.
SELECT 'constraint', t.relname || '.' || k.conname,
    -- Limits of length may be broken by rows from before them.
    CASE WHEN k.conname LIKE '%\_length\_check' THEN replace(pg_get_constraintdef(k.oid, true), ' NOT VALID', '')
        ELSE pg_get_constraintdef(k.oid, true) END || CASE WHEN EXISTS (
    SELECT FROM pg_catalog.pg_trigger g WHERE g.tgconstraint = k.oid AND g.tgisinternal AND g.tgenabled <> 'O')
    THEN ' NOT ENFORCED (its triggers are disabled)' ELSE '' END
FROM tables t
JOIN pg_catalog.pg_constraint k ON k.conrelid = t.oid AND k.contype NOT IN ('n', 't')
UNION ALL
SELECT 'index', t.relname || '.' || c.relname, pg_get_indexdef(x.indexrelid, 0, true)
    || CASE WHEN x.indisvalid AND x.indisready THEN '' ELSE ' INVALID' END
FROM tables t
JOIN pg_catalog.pg_index x ON x.indrelid = t.oid
JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid
UNION ALL
SELECT 'trigger', t.relname || '.' || g.tgname, pg_get_triggerdef(g.oid, true)
    || CASE g.tgenabled WHEN 'O' THEN '' WHEN 'A' THEN ' ENABLE ALWAYS' WHEN 'R' THEN ' ENABLE REPLICA'
        ELSE ' DISABLED' END
FROM tables t
JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
UNION ALL
SELECT 'function', format('%s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)), concat_ws(' ',
    pg_get_function_arguments(p.oid), 'RETURNS', pg_get_function_result(p.oid), 'LANGUAGE', l.lanname,
    CASE p.provolatile WHEN 'i' THEN 'IMMUTABLE' WHEN 's' THEN 'STABLE' ELSE 'VOLATILE' END,
    CASE p.proparallel WHEN 's' THEN 'PARALLEL SAFE' WHEN 'r' THEN 'PARALLEL RESTRICTED' END,
    CASE WHEN p.proisstrict THEN 'STRICT' END,
    CASE WHEN p.proleakproof THEN 'LEAKPROOF' END,
    CASE WHEN p.prosecdef THEN 'SECURITY DEFINER' END,
    (SELECT string_agg('SET ' || replace(o, format('search_path=%I, ', n.nspname), 'search_path=<schema>, '), ' ' ORDER BY o)
     FROM unnest(p.proconfig) o),
    'AS', replace(coalesce(pg_get_function_sqlbody(p.oid), p.prosrc), quote_ident(n.nspname) || '.', ''))
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE n.nspname = CAST(:schema AS text) AND p.prokind IN ('f', 'p')
