-- When each setting was changed last, in milliseconds; 0 for never.
ALTER TABLE queues ADD COLUMN paused_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queues ADD COLUMN concurrency_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queues ADD COLUMN rate_at INTEGER NOT NULL DEFAULT 0;
