-- Pass rate of every suite, model and task, over all runs.
SELECT suite, model, task, sum(trials)::BIGINT AS trials, sum(passed)::BIGINT AS passed, sum(invalid)::BIGINT AS invalid,
       sum(passed) / nullif(sum(trials), 0) AS pass_rate, sum(cost_usd) AS cost_usd
FROM pass_rates GROUP BY suite, model, task ORDER BY suite, model, task
