-- From here on no table that is there changes its shape: what would, fails.
CREATE FUNCTION pg_catalog.suite_freezes() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() d
               WHERE d.schema_name NOT IN ('pg_temp', 'segue')
                 AND (d.command_tag = 'ALTER TABLE'
                      OR d.command_tag LIKE 'CREATE%TABLE' AND EXISTS (
                          SELECT FROM pg_inherits h WHERE h.inhrelid = d.objid))) THEN
        RAISE EXCEPTION 'the suite''s tables are frozen';
    END IF;
END $$;
CREATE EVENT TRIGGER suite_freezes ON ddl_command_end
    EXECUTE FUNCTION pg_catalog.suite_freezes();
