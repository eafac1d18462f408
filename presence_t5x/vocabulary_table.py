"""How a model's table of tokens and a vocabulary fit each other."""

_MULTIPLE = 128


def table_rows(vocab_size: int) -> int:
    """Returns the rows of a table for a vocabulary: the next multiple of 128.

    >>> table_rows(250_100)
    250112
    """
    return -(-vocab_size // _MULTIPLE) * _MULTIPLE


def table_setting(model: object) -> str:
    """Returns the name of the setting that says how many rows a model's table has.

    >>> from presence_t5x.config_types import EncoderOnlyConfig
    >>> table_setting(EncoderOnlyConfig())
    'EncoderOnlyConfig.vocab_size'
    """
    return f"{type(model).__name__}.vocab_size"


def check_table_holds(name: str, vocab_size: int, rows: int) -> None:
    """Raises ValueError if a table has no row for some id.

    Args:
      name: of the task whose vocabulary it is.
      vocab_size: ids of the vocabulary.
      rows: of the table.
    """
    if vocab_size > rows:
        raise ValueError(
            f"vocab_size={rows} of the model is smaller than the vocabulary of "
            f"{name!r} with {vocab_size} ids; set vocab_size >= {vocab_size}, best the next "
            "multiple of 128"
        )


def check_table_is_used(name: str, vocab_size: int, rows: int, setting: str = "vocab_size") -> None:
    """Raises ValueError if most of a table belongs to another, larger vocabulary.

    Args:
      name: of the task whose vocabulary it is.
      vocab_size: ids of the vocabulary.
      rows: of the table.
      setting: that says how many rows there are, as `table_setting` names it.
    """
    needed = table_rows(vocab_size)
    if rows >= needed + _MULTIPLE:
        raise ValueError(
            f"{name!r} has {vocab_size} vocabulary ids, but the model's table has "
            f"vocab_size={rows} rows, most of which would never be trained; set "
            f"{setting}={needed}, or use the model's own vocabulary"
        )
