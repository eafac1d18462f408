"""What `presence_t5x.report` is made of: run files, their summary, charts, words and the page.

In flow order: `run_files` reads, `summary` computes, `svg`, `scales`, `plots` and `distributions`
draw, `figures` and `weights` choose what is drawn, `text` says it in words.
"""
