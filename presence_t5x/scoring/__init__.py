"""Self-influence of every document of a corpus, under one checkpoint or several.

`corpus` says which rows a document makes, `scorer` scores rows, `parts` holds what is done so far
and joins it to one table, `arguments` and `settings` turn a command line into all of these. The
command is `python -m presence_t5x.score`.
"""
