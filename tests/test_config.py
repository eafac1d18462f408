"""Gin files and bindings build the run that they say, or an error that a person can act on."""

import dataclasses
import re
from pathlib import Path

import pytest

from presence_t5x.config import (
    config_to_dict,
    config_to_gin,
    flatten_settings,
    load_config,
    parse_arguments,
)
from presence_t5x.config_types import (
    DataConfig,
    OptimizerConfig,
    PresenceConfig,
    RunConfig,
    T5Config,
    TemperatureConfig,
)

RUNS = sorted(Path(__file__).parents[1].glob("configs/runs/pretrain_mt5_*.gin"))
BASE = "configs/runs/pretrain_mt5_base_presence.gin"
LENGTHS = {"inputs": 32, "targets": 8}


def load(file, **macros):
    bindings = [f"{name}={value!r}" for name, value in {"MODEL_DIR": "runs/x", **macros}.items()]
    return load_config([file], bindings)


@pytest.mark.parametrize("file", RUNS, ids=lambda path: path.stem)
def test_every_paper_config_loads_with_the_paper_numbers(file):
    size, _, variant = file.stem.removeprefix("pretrain_mt5_").partition("_")
    config = load(str(file), **({"PREPARED_STORES": "x"} if variant == "prepared" else {}))
    batch, microbatches, emb_dim = {
        "base": (1024, 8, 768),
        "large": (512, 4, 1024),
        "xxl": (1024, 4, 4096),  # not in the paper
    }[size]
    assert config.data.batch_size == batch
    assert config.presence.num_microbatches == microbatches
    assert config.presence.loss_normalizer == batch * 229
    assert config.model.emb_dim == emb_dim and config.model.dropout_rate == 0.0
    assert config.data.task_feature_lengths == {"inputs": 1024, "targets": 229}
    assert (config.optimizer.name, config.optimizer.warmup_steps) == ("adafactor", 10_000)
    stages = {
        "presence": ("two_stage", 1.0, -1.0),
        "prepared": ("two_stage", 1.0, -1.0),
        "inverse_direct": ("two_stage", -1.0, 1.0),
        "direct": ("constant", 1.0, -1.0),
        "inverse": ("constant", -1.0, -1.0),
        "baseline": ("unweighted", 1.0, -1.0),
    }
    found = config.temperature
    assert (found.schedule, found.temperature_1, found.temperature_2) == stages[variant]
    assert found.switch_step == 100_000
    ablations = ("direct", "inverse", "inverse_direct")
    assert config.train_steps == (200_000 if variant in ablations else 1_000_000)
    is_prepared = variant == "prepared"
    assert config.data.reader == ("prepared" if is_prepared else "streaming")
    assert (config.model.vocab_size is None) == is_prepared


def test_every_run_file_opens_with_its_command():
    for file in Path(__file__).parents[1].glob("configs/runs/*.gin"):
        head = file.read_text().split("\n\n")[0]
        assert ("Command:" in head and "MODEL_DIR" in head) or "Required" in head, file.name


FINETUNING = sorted(Path(__file__).parents[1].glob("configs/runs/finetune_*.gin"))
BENCHMARKS = {"glue": (512, 128), "super_glue": (1024, 64)}  # their lengths
FINETUNING_MACROS = {
    "MIXTURE_OR_TASK_NAME": "local_ner_zeroshot",
    "LOCAL_TASK_FILES": "x",
    "VOCABULARY_FILE": "bytes",
    "EVAL_METRIC": "span_f1",
}


@pytest.mark.parametrize("file", FINETUNING, ids=lambda path: path.stem)
def test_fine_tuning_configs_load_with_the_paper_numbers(file):
    name = file.stem.removeprefix("finetune_")
    family, _, setting = name.partition("_") if name not in BENCHMARKS else (name, "", "")
    macros = {"INITIAL_CHECKPOINT": "x", **(FINETUNING_MACROS if family == "local" else {})}
    bindings = [f"{name}={value!r}" for name, value in {"MODEL_DIR": "x", **macros}.items()]
    config = load_config([str(file)], bindings)
    large = load_config([str(file), "configs/models/mt5_large.gin"], bindings)
    assert large.model.emb_dim == 1024 and large.data == config.data
    judged = config.task_evaluation
    assert (judged.task, judged.selection) == (config.data.mixture_or_task_name, "best")
    assert (judged.split, config.keep_checkpoints) == ("validation", 1)
    optimizer, is_tiny = config.optimizer, family == "encyclopedia"
    rate, dropout = (0.02, 0.0) if is_tiny else (0.001, 0.1)
    assert (optimizer.factors, optimizer.base_learning_rate) == ("constant", rate)
    assert config.temperature.schedule == "unweighted" and config.model.dropout_rate == dropout
    if family in ("local", "encyclopedia"):
        return
    assert config.model.emb_dim == 768 and config.data.batch_size == 128
    assert (config.train_steps_relative, config.eval_period, config.data.pack) == (
        20_000,
        200,
        True,
    )
    lengths = {"xnli": (1024, 128), "pawsx": (1024, 128), **BENCHMARKS}.get(family, (1024, 512))
    assert tuple(config.data.task_feature_lengths.values()) == lengths
    metrics = {"xnli": "accuracy", "pawsx": "accuracy", "ner": "span_f1"}
    metrics |= dict.fromkeys(BENCHMARKS, "task_average")
    metric = metrics.get(family, "f1")
    assert judged.metrics == (metric,)
    # The validation split of XQuAD's mixture is English already.
    sees_english_alone = setting == "zeroshot" and family != "xquad"
    assert judged.languages == (("en",) if sees_english_alone else None)


MACROS = {
    "TRAIN_STEPS": (7, "train_steps"),
    "BATCH_SIZE": (64, "data.batch_size"),
    "NUM_MICROBATCHES": (2, "presence.num_microbatches"),
    "RANDOM_SEED": (5, "random_seed"),
    "CHECKPOINT_PERIOD": (9, "checkpoint_period"),
    "MIXTURE_OR_TASK_NAME": ("encyclopedia", "data.mixture_or_task_name"),
    "TASK_FEATURE_LENGTHS": (LENGTHS, "data.task_feature_lengths"),
    "DROPOUT_RATE": (0.1, "model.dropout_rate"),
    "LOSS_NORMALIZING_FACTOR": (10.0, "presence.loss_normalizer"),
    "TAU_1": (2.0, "temperature.temperature_1"),
    "TAU_2": (-2.0, "temperature.temperature_2"),
    "SWITCH_STEP": (3, "temperature.switch_step"),
    "TEMPERATURE_SCHEDULE": ("linear", "temperature.schedule"),
    "SCORE": ("loss", "presence.score"),
    "SCORE_LOSS": ("sum", "presence.score_loss"),
    "SCORE_LAYERS": (["encoder/layers_1"], "presence.layers"),
    "GRANULARITY": ("example", "presence.granularity"),
    "NORMALIZER": ("none", "presence.normalizer"),
    "ACCUMULATOR": ("stored", "presence.accumulator"),
    "ROW_ORDER": ("contiguous", "presence.row_order"),
}


@pytest.mark.parametrize("macro", MACROS)
def test_macros_reach_their_setting(macro):
    value, setting = MACROS[macro]
    settings = config_to_dict(load(BASE, **{macro: value}))
    for part in setting.split("."):
        settings = settings[part]
    assert settings == value


def test_resolved_gin_builds_the_same_run(tmp_path):
    config = load(BASE, SCORE_LAYERS=("encoder/layers_1",), SWITCH_STEP=4)
    file = tmp_path / "config.gin"
    file.write_text(config_to_gin(config))
    assert load_config([str(file)]) == config


def test_t5x_spelling_of_the_token_normaliser():
    config = load(BASE, LOSS_NORMALIZING_FACTOR="NUM_REAL_TARGET_TOKENS")
    assert config.presence.loss_normalizer == "num_real_target_tokens"


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        ([], "required macros without a value: ['MODEL_DIR']"),
        (['MODEL_DIR="x"', "TRIAN_STEPS=3"], "unknown macro 'TRIAN_STEPS'.*mean 'TRAIN_STEPS'"),
        (["MODEL_DIR=/tmp/x"], "text needs quotes of its own: --gin.MODEL_DIR='\"/tmp/x\"'"),
        (['MODEL_DIR="x"', "TRAIN_STEPS"], "--gin.TRAIN_STEPS needs a value"),
        (['MODEL_DIR="x"', "TAU_1='hot'"], "temperature_1='hot' must be a number, not str$"),
        (['MODEL_DIR="x"', "TRAIN_STEPS=1.5"], "train_steps=1.5 must be an integer"),
        (['MODEL_DIR="x"', "TRAIN_STEPS=True"], "train_steps=True must be an integer"),
        (['MODEL_DIR="x"', "NUM_MICROBATCHES=3"], "must divide batch_size=1024; use one of"),
        (['MODEL_DIR="x"', "PresenceConfig.epsilo=1"], "doesn't have a parameter named 'epsilo'"),
        (['MODEL_DIR="x"', 'GRANULARITY="microbach"'], "did you mean 'microbatch'"),
        (['MODEL_DIR="x"', 'ACCUMULATOR="streaming"'], "set accumulator='stored', or normalizer="),
        (['MODEL_DIR="x"', 'LOSS_NORMALIZING_FACTOR="AVERAGE_PER_SEQUENCE"'], "would turn the gr"),
        (
            ['MODEL_DIR="x"', "TASK_FEATURE_LENGTHS={'inputs': 8}"],
            "the keys 'inputs' and 'targets'",
        ),
    ],
)
def test_wrong_bindings(bindings, message):
    pattern = message if ".*" in message or message.endswith("$") else re.escape(message)
    with pytest.raises(ValueError, match=pattern):
        load_config([BASE], bindings)


def test_missing_file_names_the_nearest():
    with pytest.raises(ValueError, match=r"does not exist; did you mean .*pretrain_mt5_base_"):
        load_config(["configs/runs/pretrain_mt5_bas_presence.gin"])
    with pytest.raises(ValueError, match="no gin file given"):
        load_config([])


def test_an_unread_macro_in_a_file_is_refused(tmp_path):
    file = tmp_path / "mine.gin"
    file.write_text(f'include "{BASE}"\nMODEL_DIR = "x"\nSWICH_STEP = 3\n')
    with pytest.raises(
        ValueError, match=r"'SWICH_STEP' is set but no setting reads it.*SWITCH_STEP"
    ):
        load_config([str(file)])


def test_nothing_stays_behind_between_loads():
    load(BASE, TRAIN_STEPS=5)
    assert load(BASE).train_steps == 1_000_000


def test_command_line_is_split():
    assert parse_arguments(["--gin_file=a", "--gin.B=c=d", "x"]) == (["a"], ["B=c=d"], ["x"])


def test_flattened_settings():
    config = RunConfig(
        model=T5Config(vocab_size=8),
        data=DataConfig(mixture_or_task_name="a", task_feature_lengths=LENGTHS, batch_size=8),
        optimizer=OptimizerConfig(),
        presence=PresenceConfig(),
        temperature=TemperatureConfig(),
        model_dir="x",
        train_steps=1,
    )
    flat = flatten_settings(config_to_dict(config))
    assert flat["data.task_feature_lengths.inputs"] == 32
    assert flat["presence.layers"] == ["encoder/layers_0", "decoder/layers_0"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PresenceConfig(num_microbatches=2.0), "num_microbatches=2.0 must be an integer"),
        (lambda: PresenceConfig(layers=()), "selects nothing"),
        (lambda: PresenceConfig(epsilon=-1.0), "epsilon=-1.0 must lie in"),
        (lambda: PresenceConfig(loss_normalizer=0.0), "loss_normalizer=0.0 must lie in"),
        (lambda: PresenceConfig(granularity="shard"), "set normalizer='ema' or 'none'"),
        (
            lambda: PresenceConfig(granularity="shard", normalizer="ema"),
            "set accumulator='streaming'",
        ),
        (
            lambda: PresenceConfig(target_effective_sample_size=2.0, normalizer="none"),
            "set normalizer='batch'",
        ),
        (lambda: TemperatureConfig(temperature_2=float("nan")), "temperature_2=nan must be finite"),
        (lambda: TemperatureConfig(schedule="piecewise"), "belong to schedule='piecewise'"),
        (
            lambda: TemperatureConfig(schedule="piecewise", points=((5, 1.0), (1, 0.0))),
            "must be in order of step",
        ),
        (lambda: T5Config(vocab_size=0), "vocab_size=0 must be >= 1"),
        (lambda: T5Config(vocab_size=8, dtype="float16"), "dtype='float16' must be one of"),
        (lambda: OptimizerConfig(name="adam"), "did you mean 'adamw'"),
    ],
)
def test_dataclasses_refuse(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
    assert dataclasses.is_dataclass(PresenceConfig)


def test_signs_of_gin_within_text_are_text():
    model_dir = "gs://a%b@RunConfig/%MODEL_DIR"
    assert load(BASE, MODEL_DIR=model_dir).model_dir == model_dir


def test_one_file_may_be_included_twice_but_not_by_itself(tmp_path):
    one = tmp_path / "one.gin"
    one.write_text(f'include "{BASE}"\ninclude "{BASE}"\n')
    assert load(str(one)).train_steps == 1_000_000
    one.write_text(f'include "{one}"\n')
    with pytest.raises(ValueError, match=r"in a circle: .*one\.gin -> .*one\.gin; remove one"):
        load(str(one))
