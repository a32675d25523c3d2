-- How long answered calls took, by model, in milliseconds.
SELECT model, upstream, count(*) AS calls,
       quantile_cont(duration_ms, 0.50) AS p50_ms, quantile_cont(duration_ms, 0.95) AS p95_ms, quantile_cont(duration_ms, 0.99) AS p99_ms,
       quantile_cont(first_content_ms, 0.50) AS first_content_p50_ms, quantile_cont(first_content_ms, 0.95) AS first_content_p95_ms
FROM calls WHERE state = 'complete' AND status < 400
GROUP BY model, upstream ORDER BY model, upstream
