-- Outcomes of a suite's newest runs, task by task: a letter a trial, in the order of the attempts.
SELECT t.run_id, t.variant, v.model, v.fingerprint, r.kind, r.started_at, r.git_commit, r.trials_per_task, t.task,
       string_agg(CASE t.outcome WHEN 'pass' THEN 'p' WHEN 'fail' THEN 'f' ELSE 'i' END, ''
                  ORDER BY t.attempt, t.started_at, t.trial_id) AS letters
FROM trials AS t
JOIN (SELECT * FROM runs WHERE suite = ? ORDER BY started_at DESC, run_id LIMIT ?) AS r ON r.run_id = t.run_id
JOIN variants AS v ON v.run_id = t.run_id AND v.variant = t.variant
WHERE t.copy_of IS NULL
GROUP BY t.run_id, t.variant, v.model, v.fingerprint, r.kind, r.started_at, r.git_commit, r.trials_per_task, t.task
ORDER BY r.started_at, t.run_id, t.variant, t.task
