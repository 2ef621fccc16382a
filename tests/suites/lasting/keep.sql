-- Lets no table of a suite go: what would drop one, or a column of one, fails.
CREATE FUNCTION pg_catalog.suite_keeps() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() d
               WHERE d.object_type IN ('table', 'table column') AND NOT d.is_temporary) THEN
        RAISE EXCEPTION 'the suite''s tables stay';
    END IF;
END $$;
CREATE EVENT TRIGGER suite_keeps ON sql_drop EXECUTE FUNCTION pg_catalog.suite_keeps();
