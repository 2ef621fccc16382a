-- From versions 1 to 3 at the source: nobody asked for its timeline.
ALTER TABLE segue.phase ADD COLUMN timeline integer;
COMMENT ON SCHEMA segue IS 'segue schema version {version}';
