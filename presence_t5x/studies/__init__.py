"""What self-influence sees: studies whose commands are `python -m presence_t5x.study NAME`.

`noise`, `layers`, `checkpoints` and `granularity` are the studies. `sample` and `spoiling` make
their texts, `texts` has these scored, `separation` and `agreement` compare; `grouping`,
`unit_scoring` and `unit_statistics` are about units of several documents. `results` is the format
of all, `page` its HTML.
"""
