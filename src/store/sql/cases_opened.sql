-- Cases opened by a time, in how many runs they were tried by then, and in how many in a row they passed at the end.
WITH tried AS (
    SELECT suite, case_id, run_id, checked_at, sum(failed) AS failed
    FROM case_checks WHERE checked_at <= $1 AND ($2::VARCHAR IS NULL OR model = $2::VARCHAR)
    GROUP BY ALL
), last AS (
    SELECT suite, case_id, count(*) AS runs, max(checked_at) FILTER (failed > 0) AS failed_at FROM tried GROUP BY ALL
), since AS (
    SELECT suite, case_id, count(*) AS passed FROM tried JOIN last USING (suite, case_id)
    WHERE last.failed_at IS NULL OR tried.checked_at > last.failed_at GROUP BY ALL
)
SELECT c.suite, c.case_id, c.record, coalesce(last.runs, 0) AS runs, coalesce(since.passed, 0) AS passed_in_a_row
FROM cases AS c LEFT JOIN last USING (suite, case_id) LEFT JOIN since USING (suite, case_id)
WHERE c.opened_at <= $1 ORDER BY c.opened_at, c.suite, c.case_id
