-- Ready-made joins over the tables; docs/schema.md explains every column.

-- A trace with what its calls add up to.
CREATE VIEW trace_summaries AS
SELECT t.trace_id, t.name, t.agent, t.source, t.state, t.outcome, t.reason, t.started_at, t.ended_at, t.tags,
       coalesce(c.calls, 0) AS calls, coalesce(c.failed_calls, 0) AS failed_calls, c.models,
       c.input_tokens, c.output_tokens, c.cache_read_tokens, c.cache_write_tokens, c.cost_usd,
       coalesce(c.unpriced_calls, 0) AS unpriced_calls, t.lost_calls
FROM traces AS t
LEFT JOIN (
    SELECT trace_id, count(*) AS calls,
           count(*) FILTER (state <> 'open' AND (state <> 'complete' OR status >= 400 OR error IS NOT NULL)) AS failed_calls,
           string_agg(DISTINCT model, ', ' ORDER BY model) AS models,
           sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens,
           sum(cache_read_tokens)::BIGINT AS cache_read_tokens, sum(cache_write_tokens)::BIGINT AS cache_write_tokens,
           sum(cost_usd) AS cost_usd,
           count(*) FILTER (cost_usd IS NULL AND output_tokens > 0) AS unpriced_calls
    FROM calls GROUP BY trace_id
) AS c ON c.trace_id = t.trace_id;

-- What each tool was asked and what it answered; the result is the first one sent back with the same id.
CREATE VIEW tool_uses AS
SELECT a.trace_id, a.call_id, a.position, a.tool, a.arguments, a.asked_at,
       r.is_error, r.text_bytes AS result_bytes, r.message_id AS result_message_id, r.sent_at,
       (epoch_us(r.sent_at) - epoch_us(a.asked_at)) / 1000.0 AS took_ms
FROM tool_calls AS a
LEFT JOIN (
    SELECT c.trace_id, r.tool_call_id, min(c.said_at) AS sent_at, arg_min(r.is_error, (c.said_at, r.message_id, r.position)) AS is_error,
           arg_min(r.text_bytes, (c.said_at, r.message_id, r.position)) AS text_bytes,
           arg_min(r.message_id, (c.said_at, r.message_id, r.position)) AS message_id
    FROM contexts AS c JOIN tool_results AS r ON r.message_id = c.message_id
    WHERE r.tool_call_id IS NOT NULL GROUP BY c.trace_id, r.tool_call_id
) AS r ON r.trace_id = a.trace_id AND r.tool_call_id = a.tool_call_id;

-- Trials with the suite of their run and the model of their variant.
CREATE VIEW trial_results AS
SELECT t.run_id, r.name AS run_name, r.suite, t.task, t.variant, v.model, t.attempt, t.trial_id, t.trace_id, t.started_at,
       t.outcome, CASE t.outcome WHEN 'pass' THEN true WHEN 'fail' THEN false END AS pass,
       t.score, t.why, t.ending, t.duration_ms, t.calls, t.cost_usd, t.stuck, t.copy_of
FROM trials AS t
JOIN runs AS r ON r.run_id = t.run_id
LEFT JOIN variants AS v ON v.run_id = t.run_id AND v.variant = t.variant;

-- How often each variant passed each task; copies and trials that could not be measured don't count.
CREATE VIEW pass_rates AS
SELECT run_id, run_name, suite, task, variant, model,
       count(*) FILTER (pass IS NOT NULL AND copy_of IS NULL) AS trials,
       count(*) FILTER (pass AND copy_of IS NULL) AS passed,
       count(*) FILTER (pass IS NULL) AS invalid,
       passed / nullif(trials, 0) AS pass_rate,
       sum(cost_usd) AS cost_usd
FROM trial_results
GROUP BY run_id, run_name, suite, task, variant, model;

-- What runs said of cases since they were opened: a row for each variant that tried one.
CREATE VIEW case_checks AS
SELECT c.suite, c.case_id, r.finished_at AS checked_at, r.run_id, t.variant, v.model, v.prompt, r.git_commit,
       count(*) FILTER (t.outcome = 'pass') AS passed, count(*) FILTER (t.outcome = 'fail') AS failed
FROM cases AS c
JOIN runs AS r ON r.suite = c.suite AND r.finished_at >= c.opened_at
JOIN trials AS t ON t.run_id = r.run_id AND t.task = c.case_id AND t.outcome <> 'invalid' AND t.copy_of IS NULL
JOIN variants AS v ON v.run_id = t.run_id AND v.variant = t.variant
GROUP BY ALL;

-- The life of each case in stretches, as a whole (model IS NULL) and for each model that was tried.
CREATE VIEW case_life AS
WITH told AS (
    SELECT suite, case_id, model, checked_at AS said_at, 1 AS place, run_id, string_agg(DISTINCT model, ', ' ORDER BY model) AS models,
           string_agg(DISTINCT prompt, ', ' ORDER BY prompt) AS prompts, git_commit,
           CASE WHEN bool_or(passed = 0) THEN 'open' WHEN bool_or(failed > 0) THEN 'flaky' ELSE 'fixed' END AS says
    FROM case_checks
    GROUP BY GROUPING SETS ((suite, case_id, checked_at, run_id, git_commit), (suite, case_id, checked_at, run_id, git_commit, model))
    UNION ALL
    SELECT suite, case_id, whose.model, opened_at, 0, NULL, cases.model, NULL, git_commit,
           CASE WHEN failed > 0 AND failed < asked THEN 'flaky' ELSE 'open' END
    FROM cases, LATERAL (SELECT unnest([NULL, cases.model]) AS model) AS whose
    WHERE cases.model IS NOT NULL OR whose.model IS NULL
), named AS (
    SELECT *, CASE WHEN says = 'open' AND last_value(nullif(says, 'open') IGNORE NULLS) OVER earlier = 'fixed' THEN 'reopened' ELSE says END AS state
    FROM told
    WINDOW earlier AS (PARTITION BY suite, case_id, model ORDER BY said_at, place, run_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
), changed AS (
    SELECT * FROM named
    QUALIFY state IS DISTINCT FROM lag(state) OVER (PARTITION BY suite, case_id, model ORDER BY said_at, place, run_id)
)
SELECT suite, case_id, model, state, said_at AS valid_from,
       lead(said_at) OVER (PARTITION BY suite, case_id, model ORDER BY said_at, place, run_id) AS valid_to,
       run_id, models, prompts, git_commit
FROM changed;

-- What was spent, by day (UTC) and model.
CREATE VIEW cost_by_day AS
SELECT started_at::DATE AS day, model, upstream, count(*) AS calls,
       sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens,
       sum(cache_read_tokens)::BIGINT AS cache_read_tokens, sum(cache_write_tokens)::BIGINT AS cache_write_tokens,
       sum(cost_usd) AS cost_usd,
       count(*) FILTER (cost_usd IS NULL AND output_tokens > 0) AS unpriced_calls
FROM calls
GROUP BY day, model, upstream;

-- What one call sent, in order: standing orders (position 0), the conversation, and the answer last. FROM call_messages('0123456789abcdef')
CREATE MACRO call_messages(call) AS TABLE
WITH RECURSIVE asked AS (
    SELECT * FROM calls WHERE call_id = call
), family AS MATERIALIZED (
    SELECT call_id, parent_call_id, kept_messages FROM calls WHERE trace_id IN (SELECT trace_id FROM asked)
), line AS (
    SELECT call_id, parent_call_id, kept_messages AS kept, messages AS upto FROM asked
    UNION ALL
    SELECT f.call_id, f.parent_call_id, least(f.kept_messages, line.kept), line.kept
    FROM line JOIN family AS f ON f.call_id = line.parent_call_id WHERE line.kept > 0
), said AS (
    SELECT 0 AS position, s.position AS place, s.block_id AS message_id, false AS is_answer
    FROM setups AS s JOIN asked ON asked.setup_id = s.setup_id
    UNION ALL
    SELECT c.depth, 0, c.message_id, false
    FROM contexts AS c JOIN line ON line.call_id = c.call_id AND c.depth > line.kept AND c.depth <= line.upto
    WHERE c.trace_id IN (SELECT trace_id FROM asked)
    UNION ALL
    SELECT messages + 1, 0, answer_id, true FROM asked WHERE answer_id IS NOT NULL
)
SELECT said.position, m.role, m.text, m.thinking, m.parts, said.is_answer, said.message_id
FROM said JOIN messages AS m ON m.message_id = said.message_id
WHERE said.position > 0 OR m.role <> 'other'
ORDER BY said.position, said.place;
