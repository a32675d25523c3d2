-- How often each tool was used, answered and failed.
SELECT tool, count(*) AS asked, count(is_error) AS answered, count(*) FILTER (is_error) AS failed,
       failed / nullif(answered, 0) AS error_rate, quantile_cont(took_ms, 0.50) AS p50_ms, quantile_cont(took_ms, 0.95) AS p95_ms
FROM tool_uses GROUP BY tool ORDER BY asked DESC, tool
