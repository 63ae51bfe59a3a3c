-- The id that the row had when the code of its mail was first put into Redis. If Redis loses the wrong guesses at that
-- code, the code is spent. A later grant gives the row a new id, and so is not armed. An earlier release never sets it.
ALTER TABLE outbox ADD COLUMN armed_id bigint;
