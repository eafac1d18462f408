"""What self-influence sees: studies whose commands are `python -m presence_t5x.study NAME`.

`spoiling` spoils text in known ways, `separation` says how well a number tells spoiled from clean.
"""
