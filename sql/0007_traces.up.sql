-- The trace of the request that owes the mail, as a traceparent (W3C Trace Context): one id finds a registration from the
-- request to its mail. Unknown for mails that an earlier release has queued.
ALTER TABLE outbox ADD COLUMN traceparent text CHECK (octet_length(traceparent) = 55);
