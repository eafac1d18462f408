"""Reproducing tables: `python -m presence_t5x.reproduce`.

In flow order: `plans` (what is run for which tables, as data), `units` (its commands, in order),
`execution` (runs them, each in its own directory, and takes up what is done) with `display`,
`results` (what evaluations found), `bootstrap` (intervals), `guesses` (what knowing nothing
scores), `paper_figures` (the paper's numbers), `rows` (tables.json), `grids` (rows laid out as the
paper's tables), `text_files` (markdown, CSV), `page` and `charts` (HTML).
"""
