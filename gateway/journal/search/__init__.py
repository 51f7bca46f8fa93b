"""Search: the query language of lists, and the full-text index that is written behind the calls.

A question goes from text to rows through `query` (text → tree), `fields`, `matching` (tree → SQL)
and `scan` (windows under a time limit); what calls said gets into the index through `text` and
`words` (what is indexed), `unsearched` (the writer's hints), `indexer`, `indexing` and `volumes`.
"""
