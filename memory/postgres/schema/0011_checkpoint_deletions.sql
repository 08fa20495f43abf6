-- Runs whose checkpoints were deleted. Owned by memory/runs.

-- No checkpoint of a run comes back after this moment, whoever still writes.
alter table runs add column checkpoints_deleted timestamptz;
