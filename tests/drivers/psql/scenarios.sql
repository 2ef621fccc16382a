-- psql in its own idioms: \copy, \gset, \gexec, FETCH_COUNT, ON_ERROR_ROLLBACK, single transactions.
-- See tests/drivers/README.md. Usage: psql -X URL <scenarios.sql
\set VERBOSITY verbose
\set SHOW_CONTEXT always
\pset pager off

\echo == types
INSERT INTO thing VALUES (1, true, -7, 4611686018427387904, 0.1, 12345678901.25, 'zażółć ''quoted''', 'pad', '\x0001ff5c',
    '2024-02-29', '2024-02-29 12:30:01.123456+00', '1999-12-31 23:59:59', '3 days 7 seconds',
    '00000000-0000-0000-0000-00000000002a', '{"a": [1, null]}', '{"b": 1.5}', '{1,NULL,3}', '{"a,b",NULL}',
    '10.0.0.1/24', '[1,10)', 'happy', '(1,2.50,here)') RETURNING *;
\x
UPDATE thing SET words = words || ARRAY['new'], price = price * 2 WHERE id = 1 RETURNING *;
\x
DELETE FROM thing WHERE id = 1;

\echo == returning
INSERT INTO account (owner, balance) VALUES ('ada', 10) RETURNING id, owner \gset
\echo :id :owner
INSERT INTO account (owner) VALUES ('bob'), ('cy') RETURNING *, xmax AS x \gdesc
INSERT INTO account (owner) VALUES ('bob'), ('cy') RETURNING id, owner, balance;
UPDATE account SET balance = balance + 1 WHERE id = :id;
DELETE FROM account WHERE owner = 'nobody' RETURNING *;
SELECT format('UPDATE account SET balance = %s WHERE id = %s RETURNING id, balance', n * 10, n) FROM generate_series(1, 3) n
\gexec

\echo == copy
\copy line FROM PSTDIN (FORMAT csv)
1000,a,1
1001,,2
1002,"b
c",3
\.
COPY line (id, word) FROM STDIN;
1003	tab\there
1004	\N
\.
\copy line FROM PSTDIN (FORMAT csv)
1000,twice,1
\.
COPY (SELECT * FROM line ORDER BY id) TO STDOUT;
\copy (SELECT count(*) FROM line) TO PSTDOUT (FORMAT csv, HEADER)

\echo == several
INSERT INTO line VALUES (1, 'a', 1)\; UPDATE line SET word = 'b' WHERE id = 1 RETURNING word\; SELECT 1 AS one;
INSERT INTO line VALUES (2, 'lost', 1)\; SELECT 1 / 0\; INSERT INTO line VALUES (3, 'lost', 1);
BEGIN\; INSERT INTO line VALUES (4, 'kept', 1)\; COMMIT\; INSERT INTO line VALUES (5, 'lost', 1)\; SELECT 1 / 0;
SELECT id, word FROM line WHERE id < 10 ORDER BY id;

\echo == cursors
\set FETCH_COUNT 2
SELECT id FROM line ORDER BY id;
UPDATE line SET price = price + 1 WHERE id = 1 RETURNING id, price;
\unset FETCH_COUNT
BEGIN;
DECLARE walk CURSOR FOR SELECT id FROM line ORDER BY id FOR UPDATE;
FETCH 2 FROM walk;
UPDATE line SET word = 'current' WHERE CURRENT OF walk RETURNING id;
COMMIT;

\echo == prepared
PREPARE mine (int, text) AS INSERT INTO line VALUES ($1, $2, 0) RETURNING id, word;
EXECUTE mine (10, 'ten');
EXECUTE mine (11, 'eleven');
DEALLOCATE mine;
EXECUTE mine (12, 'twelve');
DISCARD ALL;

\echo == errors
INSERT INTO account (owner) VALUES ('ada');
UPDATE account SET balance = -1 WHERE owner = 'ada';
UPDATE account SET balance = -1 WHERE id = 1;
INSERT INTO entry VALUES (999, 1, 1);
INSERT INTO account (owner) VALUES (NULL) RETURNING id;
INSERT INTO line VALUES (500, 'x', 1) RETURNING nothing;
UPDATE line SET word = 1 / 0 WHERE id = 1 RETURNIN id;
UPDATE line SET word = nothing WHERE id = 1 RETURNING id;
SELECT * FROM missing;
\errverbose
\echo :ERROR :SQLSTATE :ROW_COUNT :LAST_ERROR_SQLSTATE

\echo == savepoints
\set ON_ERROR_ROLLBACK on
BEGIN;
INSERT INTO line VALUES (400, 'outer', 1);
INSERT INTO line VALUES (400, 'twice', 1);
SAVEPOINT doubt;
UPDATE line SET word = 'never' WHERE id = 400;
ROLLBACK TO doubt;
INSERT INTO line VALUES (401, 'kept', 1);
COMMIT;
\set ON_ERROR_ROLLBACK off
BEGIN ISOLATION LEVEL SERIALIZABLE;
INSERT INTO line VALUES (402, 'lost', 1);
SELECT 1 / 0;
INSERT INTO line VALUES (403, 'lost', 1);
COMMIT;
\set AUTOCOMMIT off
INSERT INTO line VALUES (404, 'kept', 1);
COMMIT;
DELETE FROM line WHERE id = 404;
ROLLBACK;
\set AUTOCOMMIT on
SELECT id, word FROM line WHERE id BETWEEN 400 AND 410 ORDER BY id;

\echo == notify
LISTEN door;
NOTIFY door, 'knock';
SELECT pg_notify('door', 'zażółć');
SELECT warn('hello');
DO $$ BEGIN RAISE WARNING 'from a block'; INSERT INTO line VALUES (600, 'block', 1); END $$;
CALL deposit('bob', 5);
SELECT owner, balance FROM account ORDER BY id;

\echo == cancel
SET statement_timeout = 100;
SELECT pg_sleep(60);
RESET statement_timeout;

\echo == settings
SET TIME ZONE 'Asia/Tokyo';
SET DateStyle = 'German';
\encoding latin1
INSERT INTO line VALUES (700, E'\u00e9', 1) RETURNING convert_to(word, 'UTF8');
\encoding utf8
CREATE TEMP TABLE line (id int PRIMARY KEY, word text);
INSERT INTO line VALUES (1, 'temporary') RETURNING *;
INSERT INTO public.line VALUES (701, 'permanent', 1) RETURNING *;
\c
INSERT INTO line VALUES (702, 'again', 1) RETURNING *;

\echo == describe
\dt
\d line_pkey
\dT+ mood
\sf add_up
