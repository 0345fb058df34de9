-- The three roles. Run once per database, before the first upgrade, by a superuser (or by a role with CREATEROLE
-- that owns the database):  psql -d DATABASE -f roles.sql
--
--   scheduler_repo_owner      upgrades and checks the schema, and owns its tables
--   scheduler_repo_scheduler  what the engine connects as; what it may do is in grants.sql
--   scheduler_repo_reader     reads everything, writes nothing
--
-- They can log in but have no password: give them one, or a line in pg_hba.conf. Safe to repeat, also by
-- several at once; it is one statement, so all of it happens or nothing.

DO $roles$
DECLARE
    role_name name;
BEGIN
    -- Two at once would change the same catalog rows, and one would fail.
    PERFORM pg_advisory_xact_lock(hashtextextended('scheduler_repo.roles', 0));

    FOREACH role_name IN ARRAY
        ARRAY['scheduler_repo_owner', 'scheduler_repo_scheduler', 'scheduler_repo_reader']::name[]
    LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I LOGIN', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                -- Roles belong to all databases of a server, the lock above to one.
                RAISE NOTICE 'role % was created by another session meanwhile', role_name;
            END;
        END IF;
    END LOOP;

    -- As it is in every database made by PostgreSQL 15 or later: nobody plants tables and functions there.
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    GRANT USAGE, CREATE ON SCHEMA public TO scheduler_repo_owner;
    GRANT USAGE ON SCHEMA public TO scheduler_repo_scheduler, scheduler_repo_reader;

    -- CREATE on the database is for the schema check, which makes a schema for a moment.
    EXECUTE format('GRANT CONNECT, CREATE ON DATABASE %I TO scheduler_repo_owner', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO scheduler_repo_scheduler, scheduler_repo_reader',
        current_database());
END
$roles$;
