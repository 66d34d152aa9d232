-- How long a claim of a worker in another process waits after a restart for a
-- session that holds it, in microseconds; 0 for those of this process.
ALTER TABLE leases ADD COLUMN grace INTEGER NOT NULL DEFAULT 0;
