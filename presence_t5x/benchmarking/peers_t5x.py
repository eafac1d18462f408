"""Peers: T5X's own `Trainer` step on the same configuration, and `PresenceTrainer`'s beside it.

Nothing of T5X is changed: its embedding is the product with a one-hot matrix that its network asks
for, its microbatches and its Adafactor are its own, and a step is the one that a trainer hands to
its partitioner. T5X is not on PyPI; the tested commit is cc342d4.
"""

import dataclasses
import functools
import importlib
from collections.abc import Mapping
from typing import Any

import jax

from presence_t5x.benchmarking.contenders import (
    TRAINING,
    Batch,
    Contender,
    stateful_step,
    t5_of,
    temp_bytes,
)
from presence_t5x.config_types import RunConfig


def check_t5x(config: RunConfig) -> None:
    """Refuses a configuration that T5X's example network cannot run.

    Raises:
      ValueError: names the setting.
    """
    for name, value, wanted in (
        ("T5Config.scan_layers", t5_of(config).scan_layers, False),
        ("T5Config.remat_policy", t5_of(config).remat_policy, "none"),
        ("OPTIMIZER", config.optimizer.name, "adafactor"),
    ):
        if value != wanted:
            raise ValueError(
                f"{name}={value!r}: T5X's trainer is compared with {wanted!r} alone; set that, or "
                "leave the peer out (--peers=none)"
            )
    if isinstance(config.presence.loss_normalizer, str):
        raise ValueError(
            f"LOSS_NORMALIZING_FACTOR={config.presence.loss_normalizer!r}: T5X divides every "
            "microbatch by its own tokens then; set a number, or leave the peer out (--peers=none)"
        )
    if jax.default_backend() == "cpu" and jax.device_count() > 1:
        raise ValueError(
            f"T5X would cut the model over the {jax.device_count()} CPU devices, not the batch; "
            "benchmark it on one, or leave the peer out (--peers=none)"
        )


def t5x_training(config: RunConfig, batch: Batch) -> Contender:
    """Returns the step of `t5x.trainer.Trainer`, compiled by T5X's partitioner."""
    return _training("T5X trainer", config, batch)


def t5x_presence_training(config: RunConfig, batch: Batch) -> Contender:
    """Returns the step of `PresenceTrainer`, on the same network, by the same partitioner."""
    plug_in: Any = importlib.import_module("presence_t5x.t5x_trainer")
    trainer_cls = functools.partial(
        plug_in.PresenceTrainer,
        temperature_fn=plug_in.build_temperature_fn(config.temperature),
        presence_config=dataclasses.replace(config.presence, row_order="contiguous"),
    )
    return _training("PRESENCE on T5X", config, batch, trainer_cls)


def _training(title: str, config: RunConfig, batch: Batch, trainer_cls: Any = None) -> Contender:
    partitioner, initializer, step = t5x_step(config, batch, trainer_cls=trainer_cls)
    state = initializer.from_scratch(jax.random.key(config.random_seed))
    normalizer = float(config.presence.loss_normalizer or 1)
    compiled = partitioner.compile(step, state, dict(batch))
    return Contender(
        title=title,
        description="the step that its partitioner compiles, examples.t5.network (one-hot "
        f"embedding), its Adafactor, {config.presence.num_microbatches} microbatches",
        kind=TRAINING,
        step=stateful_step(compiled, state, dict(batch)),
        value_of=lambda metrics: normalizer * _token_loss(metrics),
        temp_bytes=temp_bytes(compiled),
    )


def t5x_step(
    config: RunConfig,
    batch: Mapping[str, Any],
    mesh: jax.sharding.Mesh | None = None,
    trainer_cls: Any = None,
) -> tuple[Any, Any, Any]:
    """Returns T5X's partitioner, its initializer of train states, and its partitioned train step.

    Args:
      batch: arrays, or their shapes.
      mesh: T5X's axes over other devices than those of this machine.
      trainer_cls: what makes the trainer; None is T5X's own.
    """
    partitioning: Any = importlib.import_module("t5x.partitioning")
    utils: Any = importlib.import_module("t5x.utils")
    trainer_cls = trainer_cls or importlib.import_module("t5x.trainer").Trainer
    model = _model(config)
    partitioner = partitioning.PjitPartitioner(
        num_partitions=1, logical_axis_rules=partitioning.standard_logical_axis_rules()
    )
    if mesh is not None:
        vars(partitioner)["mesh"] = mesh  # a cached property
    initializer = utils.TrainStateInitializer(
        optimizer_def=model.optimizer_def,
        init_fn=model.get_initial_variables,
        input_shapes={name: values.shape for name, values in batch.items()},
        input_types={name: values.dtype for name, values in batch.items()},
        partitioner=partitioner,
    )
    trainer = trainer_cls(
        model=model,
        train_state=initializer.global_train_state_shape,  # its loop is not run
        partitioner=partitioner,
        eval_names=[],
        summary_dir=None,
        train_state_axes=initializer.train_state_axes,
        rng=jax.random.key(config.random_seed),
        learning_rate_fn=_learning_rate(utils, config),
        num_microbatches=config.presence.num_microbatches,
    )
    step = trainer._partitioned_train_step
    trainer.close()  # ends its threads for metrics; the step needs none
    return partitioner, initializer, step


def _token_loss(metrics: Any) -> float:
    """Returns T5X's loss a token; it is divided by the loss normaliser as well."""
    return float(metrics["loss_per_nonpadding_target_token"].compute())


def _model(config: RunConfig) -> Any:
    """Returns T5X's encoder-decoder as its gin files build it."""
    adafactor: Any = importlib.import_module("t5x.adafactor")
    models: Any = importlib.import_module("t5x.models")
    network: Any = importlib.import_module("t5x.examples.t5.network")
    sizes = t5_of(config)
    module = network.Transformer(
        config=network.T5Config(
            vocab_size=sizes.vocab_size,
            dtype=sizes.dtype,
            emb_dim=sizes.emb_dim,
            num_heads=sizes.num_heads,
            num_encoder_layers=sizes.num_encoder_layers,
            num_decoder_layers=sizes.num_decoder_layers,
            head_dim=sizes.head_dim,
            mlp_dim=sizes.mlp_dim,
            mlp_activations=sizes.mlp_activations,
            dropout_rate=sizes.dropout_rate,
            logits_via_embedding=sizes.logits_via_embedding,
            float32_attention_logits=sizes.float32_attention_logits,
        )
    )
    optimizer = adafactor.Adafactor(
        decay_rate=config.optimizer.decay_rate,
        step_offset=config.optimizer.step_offset,
        clipping_threshold=config.optimizer.clipping_threshold,
        multiply_by_parameter_scale=config.optimizer.multiply_by_parameter_scale,
        min_dim_size_to_factor=config.optimizer.min_dim_size_to_factor,
        logical_factor_rules=adafactor.standard_logical_factor_rules(),
    )
    return models.EncoderDecoderModel(
        module=module,
        input_vocabulary=None,  # for decoding alone
        output_vocabulary=None,
        optimizer_def=optimizer,
        z_loss=config.z_loss,
        loss_normalizing_factor=config.presence.loss_normalizer,
    )


def _learning_rate(utils: Any, config: RunConfig) -> Any:
    """Returns T5X's learning-rate schedule for the run's settings."""
    settings = config.optimizer
    return utils.create_learning_rate_scheduler(
        factors=settings.factors,
        base_learning_rate=settings.base_learning_rate,
        warmup_steps=settings.warmup_steps,
        decay_factor=settings.decay_factor,
        steps_per_decay=settings.steps_per_decay,
        steps_per_cycle=settings.steps_per_cycle,
    )
