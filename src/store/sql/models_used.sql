-- Models by how often they were asked.
SELECT model AS word, count(*) AS uses FROM calls WHERE model IS NOT NULL GROUP BY model ORDER BY uses DESC, word LIMIT 200
