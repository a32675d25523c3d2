-- What loops came to in a span of time, over all and by model, agent, tag and day. Trials of suites, replays and shadows are not among them.
WITH mine AS (
    SELECT s.trace_id, s.agent, s.state, s.outcome, s.reason, s.tags, s.started_at, s.calls, s.failed_calls, s.models, s.cost_usd, s.unpriced_calls,
           coalesce(s.input_tokens, 0) + coalesce(s.output_tokens, 0) + coalesce(s.cache_read_tokens, 0) + coalesce(s.cache_write_tokens, 0) AS tokens,
           (epoch_us(s.ended_at) - epoch_us(s.started_at)) / 1e6 AS seconds
    FROM trace_summaries AS s
    WHERE s.started_at >= ? AND s.started_at < ?
      AND s.source <> 'derived'
      AND s.trace_id NOT IN (SELECT trace_id FROM trials WHERE trace_id IS NOT NULL)
), tagged AS (
    SELECT *, unnest(json_keys(tags)) AS key FROM mine
), sorted AS (
    SELECT 'all' AS what, 'all' AS word, * FROM mine
    UNION ALL SELECT 'model', coalesce(models, 'no model'), * FROM mine
    UNION ALL SELECT 'agent', coalesce(agent, 'no agent named'), * FROM mine
    UNION ALL SELECT 'day', started_at::DATE::VARCHAR, * FROM mine
    UNION ALL SELECT 'tag', key || '=' || coalesce(json_extract_string(tags, '$."' || key || '"'), ''), * EXCLUDE (key)
    FROM tagged WHERE NOT contains(key, '"')
)
SELECT what, word, count(*) AS traces,
       count(*) FILTER (outcome = 'ok') AS ok, count(*) FILTER (outcome = 'failed') AS failed, count(*) FILTER (outcome = 'killed') AS killed,
       count(*) FILTER (outcome = 'braked') AS braked, count(*) FILTER (outcome IS NULL AND state = 'cut_off') AS cut_off,
       count(*) FILTER (outcome IS NULL AND state <> 'cut_off') AS unknown,
       count(*) FILTER (contains(lower(coalesce(reason, '')), 'stuck')) AS stuck,
       sum(calls)::BIGINT AS calls, sum(failed_calls)::BIGINT AS failed_calls, sum(tokens)::BIGINT AS tokens,
       sum(cost_usd) AS cost_usd, sum(unpriced_calls)::BIGINT AS unpriced_calls,
       quantile_cont(seconds, 0.5) AS p50_s, quantile_cont(seconds, 0.95) AS p95_s
FROM sorted GROUP BY what, word ORDER BY what, traces DESC, word
