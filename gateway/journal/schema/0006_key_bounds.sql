-- Two more bounds of a key; NULL is without bound.
ALTER TABLE keys ADD COLUMN max_queued     INTEGER;  -- calls that wait at a time
ALTER TABLE keys ADD COLUMN max_body_bytes INTEGER;  -- of one request
