"""What a batch of an objective looks like, before there is one: for whoever compiles a step."""

from presence_t5x.config_types import DataConfig

Shapes = dict[str, tuple[tuple[int, ...], str]]


def feature_shapes(data_config: DataConfig) -> Shapes:
    """Returns the shape and the type of every feature of a batch, over all processes.

    With `pack` segment ids and positions are among them (of span corruption only pairs have them).

    >>> config = DataConfig(
    ...     mixture_or_task_name="t", task_feature_lengths={"targets": 8}, objective="next_token",
    ...     batch_size=2)
    >>> feature_shapes(config)["decoder_loss_weights"]
    ((2, 8), 'float32')
    """
    rows, lengths = data_config.batch_size, data_config.task_feature_lengths
    inputs, targets = lengths.get("inputs", 0), lengths.get("targets", 0)
    match data_config.objective:
        case "span_corruption":
            pack = data_config.pack
            return _encoder(rows, inputs, pack) | _decoder(rows, targets, pack)
        case "next_token":
            return _decoder(rows, targets, data_config.pack)
        case "prefix":
            length = inputs + targets
            is_prefix = {"decoder_causal_attention": ((rows, length), "int32")}
            return _decoder(rows, length, data_config.pack) | is_prefix
        case "masked_tokens":
            return _encoder(rows, inputs, data_config.pack) | {
                "encoder_target_tokens": ((rows, inputs), "int32"),
                "encoder_loss_weights": ((rows, inputs), "float32"),
            }
    return _encoder(rows, inputs, False) | {"labels": ((rows,), "int32")}


def _encoder(rows: int, length: int, pack: bool) -> Shapes:
    names = ["encoder_input_tokens", *(_segments("encoder") if pack else ())]
    return dict.fromkeys(names, ((rows, length), "int32"))


def _decoder(rows: int, length: int, pack: bool) -> Shapes:
    names = ["decoder_target_tokens", "decoder_input_tokens"]
    names += _segments("decoder") if pack else ()
    weights = {"decoder_loss_weights": ((rows, length), "float32")}
    return dict.fromkeys(names, ((rows, length), "int32")) | weights


def _segments(side: str) -> tuple[str, str]:
    return f"{side}_segment_ids", f"{side}_positions"
