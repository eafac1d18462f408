"""Gin files and bindings that no run should start with."""

from hostile.harness import Corpus

CASES = Corpus()
_RUN = 'include "configs/runs/pretrain_local.gin"\n'


def settings(place, **changes):
    """Bindings of a run that would be whole without the file that a case spoils."""
    values = {
        "MODEL_DIR": str(place.output / "run"),
        "LOCAL_TEXT_FILES": str(place.valid.texts),
        "VOCABULARY_FILE": "bytes",
        "TRAIN_STEPS": 1,  # or what is not refused would train
        **changes,
    }
    return [f"--gin.{name}={value!r}" for name, value in values.items()]


def with_file(place, content, **changes):
    """The arguments of a run with a gin file of some content."""
    file = place.folder / "hostile.gin"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [f"--gin_file={file}", *settings(place, **changes)]


def with_bindings(place, *bindings):
    """The arguments of a run that is spoilt on the command line."""
    file = "--gin_file=configs/runs/pretrain_local.gin"
    return [file, *settings(place), *(f"--gin.{binding}" for binding in bindings)]


@CASES.add("train", "no/such.gin", "does not exist")
def missing_file(place):
    return ["--gin_file=no/such.gin", *settings(place)]


@CASES.add("train", "gin_file=", "does not exist|is a (folder|directory)")
def folder_as_file(place):
    return [f"--gin_file={place.folder}", *settings(place)]


@CASES.add("train", "hostile.gin", "line 2|:2|[Ss]yntax|EOF|[Ee]xpected|[Mm]alformed")
def unclosed_bracket(place):
    return with_file(place, _RUN + "TAU_POINTS = ((1, 2.0\n")


@CASES.add("train", "hostile.gin", "UTF-8|text")
def binary_file(place):
    return with_file(place, bytes(range(256)) * 20)


@CASES.add("train", "hostile.gin", "NUL|null|text")
def nul_bytes(place):
    return with_file(place, _RUN.encode() + b"TAU_1 = 1\0.0\n")


@CASES.add("train", "no/such.gin")
def missing_include(place):
    return with_file(place, _RUN + 'include "no/such.gin"\n')


@CASES.add("train", "hostile.gin", "include")
def includes_itself(place):
    return with_file(place, f'include "{place.folder / "hostile.gin"}"\n')


@CASES.add("train", r"one\.gin", "include")
def circular_includes(place):
    one, two = place.folder / "one.gin", place.folder / "two.gin"
    one.write_text(f'include "{two}"\n')
    two.write_text(f'{_RUN}include "{one}"\n')
    return [f"--gin_file={one}", *settings(place)]


@CASES.add("train", "no_such_module_anywhere")
def import_of_a_missing_module(place):
    return with_file(place, "import no_such_module_anywhere.at_all\n" + _RUN)


@CASES.add("train", "batchsize")
def misspelt_setting(place):
    return with_file(place, _RUN + "DataConfig.batchsize = 3\n")


@CASES.add("train", "DataKonfig")
def misspelt_class(place):
    return with_file(place, _RUN + "DataKonfig.batch_size = 3\n")


@CASES.add("train", "NUM_STEPZ")
def unknown_macro(place):
    return with_file(place, _RUN + "DataConfig.noise_density = %NUM_STEPZ\n")


@CASES.add("train", "%ONE -> %TWO -> %ONE", "change one")
def macros_in_a_circle(place):
    return with_file(place, _RUN + "ONE = %TWO\nTWO = %ONE\nDataConfig.noise_density = %ONE\n")


@CASES.add("train", "@RunConfig -> @RunConfig")
def a_run_within_itself(place):
    return with_file(place, _RUN + "RunConfig.model = @RunConfig()\n")


@CASES.add("train", "hostile.gin", "nest|deep|[Ss]yntax|complex|brackets")
def deep_nesting(place):
    return with_file(place, _RUN + "TAU_POINTS = " + "(" * 5000 + ")" * 5000 + "\n")


@CASES.add("train", "T5Config", "model")
def wrong_class(place):
    return with_file(place, _RUN + "RunConfig.model = @DataConfig()\n")


@CASES.add("train", "model", "T5Config")
def text_for_a_class(place):
    return with_file(place, _RUN + 'RunConfig.model = "tiny"\n')


@CASES.add("train", "TRAIN_STEPZ", "did you mean 'TRAIN_STEPS'")
def misspelt_macro(place):
    return with_bindings(place, "TRAIN_STEPZ=5")


@CASES.add("train", "TRAIN_STEPS", "needs a value")
def binding_without_value(place):
    return with_bindings(place, "TRAIN_STEPS")


@CASES.add("train", "OPTIMIZER", "quotes")
def text_without_quotes(place):
    return with_bindings(place, "OPTIMIZER=adam w")


@CASES.add("train", "temperature_1='hot'", "number")
def text_for_a_number(place):
    return with_bindings(place, "TAU_1='hot'")


@CASES.add("train", "train_steps=1000.5", "integer")
def float_for_an_integer(place):
    return with_bindings(place, "TRAIN_STEPS=1000.5")


@CASES.add("train", "temperature_2=inf", "finite")
def infinite_temperature(place):
    return with_bindings(place, "TAU_2=1e999")


@CASES.add("train", "task_feature_lengths", "dict")
def list_for_a_dict(place):
    return with_bindings(place, "TASK_FEATURE_LENGTHS=[128, 29]")


@CASES.add("train", "model_dir=5", "string")
def number_for_a_path(place):
    return with_bindings(place, "MODEL_DIR=5")


@CASES.add("train", "layers", "tuple|list|pattern")
def number_for_a_list(place):
    return with_bindings(place, "SCORE_LAYERS=3")


@CASES.add("train", "points")
def points_that_are_no_pairs(place):
    return with_bindings(place, "TEMPERATURE_SCHEDULE='piecewise'", "TAU_POINTS=(1, 2)")


@CASES.add("train", "mlp_activations")
def number_for_activations(place):
    return with_bindings(place, "T5Config.mlp_activations=7")


@CASES.add("train", "mixing_rates")
def number_for_rates(place):
    return with_bindings(place, "MIXING_RATES=0.3")


@CASES.add("train", "switch_step=1000", "2147483647|<=")
def step_beyond_int32(place):
    return with_bindings(place, f"SWITCH_STEP={10**30}")


@CASES.add("train", "digits|TRAIN_STEPS")
def number_of_5000_digits(place):
    return with_bindings(place, "TRAIN_STEPS=" + "9" * 5000)


@CASES.add("train", "batch_size=1000000000000", "<=|at most")
def absurd_batch(place):
    return with_bindings(place, f"BATCH_SIZE={10**12}")


@CASES.add("train", "--surprise", "--help")
def unknown_argument(place):
    return [*with_bindings(place), "--surprise"]


@CASES.add("train", "--gin_file")
def no_file_at_all(place):
    return settings(place)


@CASES.add("plan", "hostile.gin", "include")
def plan_of_a_circle(place):
    file = place.folder / "hostile.gin"
    file.write_text(f'include "{file}"\n')
    return [f"--gin_file={file}", "--topology=cpu:1"]
