-- From version 1 at the target: segue.admit took one source transaction.
DROP FUNCTION segue.admit(integer, uuid, bigint, uuid, timestamptz, integer, text[], bytea[], bigint[], boolean[]);
