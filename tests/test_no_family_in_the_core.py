"""What scores, weights, accumulates and steps names no family of models.

A family is a model file, an objective and a default for the scored layers. Prose may name one; what
is executed may not, but for two defaults of library calls: the paper's layers and T5X's features.
"""

import ast
import re
from pathlib import Path

import pytest

import presence_t5x

PACKAGE = Path(presence_t5x.__file__).parent
CORE = (
    "accumulation",
    "checkpointer",
    "config_types/weighting",
    "cross_entropy",
    "example_units",
    "ghost_norms",
    "gradients",
    "held_out",
    "influence",
    "influence_log",
    "layouts",
    "local_gradients",
    "losses",
    "metrics",
    "objective",
    "optimizer",
    "partitioning",
    "reduction",
    "run_log",
    "scored_layers",
    "train",
    "train_step",
    "units",
    "vocabulary_table",
    "weighting",
)
FAMILY = re.compile(r"(?i)encoder|decoder|(?<![a-z])m?t5(?!x)|llama|roberta|xlm|bert|gpt")
NAMED = {  # defaults, and the example that an error gives
    "config_types/weighting": {"encoder/layers_0", "decoder/layers_0", "... 'encoder/layers_0'"},
    "losses": {"ENCODER_DECODER"},
}


def names(source):
    """Returns the names and strings of a program that are no docstring and name a family."""
    tree = ast.parse(source)
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        for _, value in ast.iter_fields(node):
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and id(node) not in prose and FAMILY.search(text):
                    yield text if " " not in text else "... " + text.split()[-1]


@pytest.mark.parametrize("module", CORE)
def test_no_family_is_named(module):
    source = (PACKAGE / f"{module}.py").read_text()
    assert set(names(source)) == NAMED.get(module, set())


@pytest.mark.parametrize(
    "line",
    [
        "if isinstance(config, T5Config): pass",
        "from presence_t5x.models import decoder_only",
        "x = params['encoder']",
        "def loss_of_llama(x): pass",
        "f(num_encoder_layers=2)",
    ],
)
def test_the_check_would_notice(line):
    assert list(names(f'"""Of the encoder."""\n{line}'))
