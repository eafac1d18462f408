"""What `python -m presence_t5x.doctor` looks at, one module a kind of thing.

Each check is two functions: one looks (at the machine, files, devices), the other, pure, judges
what was seen.
"""
