-- The records of a run's trials, in order.
SELECT record FROM trials WHERE run_id = ? ORDER BY task, variant, attempt, trial_id
