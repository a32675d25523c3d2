-- The newest verdicts.
SELECT verdict_id, verdict, baseline_run, candidate_run, recorded_at, record
FROM verdicts ORDER BY recorded_at DESC, verdict_id LIMIT ?
