-- The lives of cases up to a time: as a whole, or for one model.
SELECT suite, case_id, state, valid_from, CASE WHEN valid_to <= $1 THEN valid_to END AS valid_to, run_id, models, prompts, git_commit
FROM case_life WHERE valid_from <= $1 AND model IS NOT DISTINCT FROM $2::VARCHAR
ORDER BY suite, case_id, valid_from, coalesce(valid_to, 'infinity')
