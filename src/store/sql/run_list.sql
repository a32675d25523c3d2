-- The newest runs with what their trials come to; copies and trials that could not be measured are counted apart.
SELECT r.run_id, r.name, r.suite, r.kind, r.started_at, r.finished_at, r.trials_per_task, r.tasks, r.git_commit,
       v.models, coalesce(t.passed, 0) AS passed, coalesce(t.failed, 0) AS failed, coalesce(t.invalid, 0) AS invalid,
       coalesce(t.copies, 0) AS copies, t.cost_usd
FROM runs AS r
LEFT JOIN (SELECT run_id, string_agg(variant, ', ' ORDER BY variant) AS models FROM variants GROUP BY run_id) AS v ON v.run_id = r.run_id
LEFT JOIN (
    SELECT run_id, count(*) FILTER (outcome = 'pass' AND copy_of IS NULL) AS passed,
           count(*) FILTER (outcome = 'fail' AND copy_of IS NULL) AS failed,
           count(*) FILTER (outcome = 'invalid') AS invalid, count(*) FILTER (copy_of IS NOT NULL) AS copies, sum(cost_usd) AS cost_usd
    FROM trials GROUP BY run_id
) AS t ON t.run_id = r.run_id
ORDER BY r.started_at DESC, r.run_id LIMIT ?
