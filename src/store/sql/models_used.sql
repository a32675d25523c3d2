-- Models by how often they were asked, in the newest 200,000 calls: words to choose from, in the same time however many calls there are.
SELECT model AS word, count(*) AS uses FROM calls
WHERE model IS NOT NULL AND rowid >= (SELECT max(rowid) - 200000 FROM calls)
GROUP BY model ORDER BY uses DESC, word LIMIT 200
