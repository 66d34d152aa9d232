-- Claims that a commit found running and that no earlier one had written down:
-- one row for all of them, so that a short task costs a few bytes here and no
-- row of its own. A row goes when each of its tasks has ended or has one in
-- leases. Written and read by claimlist.go.
CREATE TABLE claims (n INTEGER PRIMARY KEY, data BLOB NOT NULL);
