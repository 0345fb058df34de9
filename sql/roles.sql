-- The three roles, and what nobody else needs of this database. Run once per database, before the first upgrade, by a
-- superuser (or by a role with CREATEROLE that owns the database):  psql -d DATABASE -f roles.sql
--
--   scheduler_repo_owner      upgrades and checks the schema, and owns its tables
--   scheduler_repo_scheduler  what the engine connects as; what it may do is in grants.sql
--   scheduler_repo_reader     reads everything, writes nothing
--
-- They can log in but have no password: give them one, or a line in pg_hba.conf. Safe to repeat, also by
-- several at once; it is one statement, so all of it happens or nothing.
--
-- PUBLIC loses what every role has in a new database: to connect, to make temporary tables, to use the schema public
-- and to make large objects. Roles of others that share the database need GRANT CONNECT ON DATABASE afterwards, and
-- GRANT USAGE ON SCHEMA public if they use it.

DO $roles$
DECLARE
    role_name name;
    large_object_function regprocedure;
BEGIN
    FOR attempt IN 1..10 LOOP
        BEGIN
            FOREACH role_name IN ARRAY
                ARRAY['scheduler_repo_owner', 'scheduler_repo_scheduler', 'scheduler_repo_reader']::name[]
            LOOP
                IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
                    BEGIN
                        EXECUTE format('CREATE ROLE %I LOGIN', role_name);
                    EXCEPTION WHEN duplicate_object OR unique_violation THEN
                        RAISE NOTICE 'role % was created by another session meanwhile', role_name;
                    END;
                END IF;
            END LOOP;

            -- Nobody plants tables and functions in public. Who may not use it cannot name its tables either: a
            -- statement that is prepared locks its table before any other privilege is asked for.
            REVOKE ALL ON SCHEMA public FROM PUBLIC;
            GRANT USAGE, CREATE ON SCHEMA public TO scheduler_repo_owner;
            GRANT USAGE ON SCHEMA public TO scheduler_repo_scheduler, scheduler_repo_reader;

            EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
            -- CREATE is for the schema check, which makes a schema for a moment.
            EXECUTE format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO scheduler_repo_owner',
                current_database());
            EXECUTE format('GRANT CONNECT ON DATABASE %I TO scheduler_repo_scheduler, scheduler_repo_reader',
                current_database());

            -- Whoever can make a large object can fill the disk with them. Only a superuser may take this away.
            IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = current_user AND rolsuper) THEN
                FOR large_object_function IN
                    SELECT p.oid
                    FROM pg_catalog.pg_proc AS p
                    WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname ~ '^(lo_|lowrite$|loread$)'
                LOOP
                    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', large_object_function);
                END LOOP;
            ELSE
                RAISE NOTICE 'role % is no superuser: every role can still make large objects', current_user;
            END IF;
            RETURN;
        EXCEPTION WHEN internal_error THEN
            -- "tuple concurrently updated": another session changed the same rows of a catalog, and was waited for.
            IF attempt = 10 THEN
                RAISE;
            END IF;
        END;
    END LOOP;
END
$roles$;
