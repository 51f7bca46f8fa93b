"""Statistics: buckets counted in the transaction that ends a call, merged when somebody asks.

`rollups` are the values, `counting` writes them, `folding` makes them coarser with age; `windows`
reads which stretch is asked for, and `stats` merges it.
"""
