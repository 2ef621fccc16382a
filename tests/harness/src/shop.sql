-- A small shop, with the column types and defaults that make copying statements go wrong.
CREATE TYPE purchase_state AS ENUM ('placed', 'paid', 'shipped', 'returned');

CREATE TABLE customer (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email       text NOT NULL UNIQUE,
    name        text NOT NULL,
    name_lower  text GENERATED ALWAYS AS (lower(name)) STORED,
    preferences jsonb NOT NULL DEFAULT '{}',
    tags        text[] NOT NULL DEFAULT '{}',
    balance     numeric(12, 2) NOT NULL DEFAULT 0,
    avatar      bytea,
    joined_at   timestamptz NOT NULL DEFAULT now(),
    touched_at  timestamptz,
    touch_count integer NOT NULL DEFAULT 0
);

-- The trigger rewrites what the application sent, with a clock that differs at each call.
CREATE FUNCTION customer_touched() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.name := initcap(NEW.name);
    NEW.touched_at := clock_timestamp();
    NEW.touch_count := coalesce(NEW.touch_count, 0) + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER touched BEFORE INSERT OR UPDATE ON customer
    FOR EACH ROW EXECUTE FUNCTION customer_touched();

CREATE SEQUENCE invoice_number START 1000;
CREATE TABLE purchase (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    invoice     bigint NOT NULL UNIQUE DEFAULT nextval('invoice_number'),
    customer_id bigint NOT NULL REFERENCES customer,
    state       purchase_state NOT NULL DEFAULT 'placed',
    quantities  integer[] NOT NULL,
    total       numeric NOT NULL,
    placed_at   timestamptz NOT NULL DEFAULT now(),
    luck        double precision NOT NULL DEFAULT random()
);

CREATE TABLE review (
    purchase_id uuid NOT NULL REFERENCES purchase,
    part        smallint NOT NULL,
    stars       integer NOT NULL CHECK (stars BETWEEN 1 AND 5),
    body        text NOT NULL,
    PRIMARY KEY (purchase_id, part)
);
-- Out of line and not compressed: an UPDATE of the stars leaves the body out of the log.
ALTER TABLE review ALTER COLUMN body SET STORAGE EXTERNAL;
