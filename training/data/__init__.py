"""The generated training data: what the tiny model reads and what it should answer.

Reading order: `words` (where words come from, and the split by hash), `phrasing` (templates that unfold into
sentences), `values` and `concepts` (things that fields hold, and how people ask for them), one file per kind,
`beyond` (what must be refused), and `examples`, which mixes them all.
"""
