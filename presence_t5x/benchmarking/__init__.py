"""What `presence_t5x.benchmark` is made of: what is timed, how, and how it is shown.

In flow order: `contenders` says what one is, `variants` makes ours, `peers` finds those of others
(`peers_t5x`, `peers_huggingface`, `peers_scoring`; none is imported before it is asked for),
`timing` runs them in turns, `comparison` and `sweep` measure, `tables` and `figures` show.
"""
