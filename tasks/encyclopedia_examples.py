"""Tasks of labelled examples from the embedded encyclopedia, for fine-tuning without a download.

Families nli, qa and ner, each in every language: `encyclopedia_nli_train.<lang>` (split train) and
`encyclopedia_nli_eval.<lang>` (validation, test). Examples of one number are the same in all
languages, so that training on a language is training on a translation. Mixtures, every member at
rate 1: `encyclopedia_nli_zeroshot` trains on English, `encyclopedia_nli_translate_train` on all
languages, both are judged in every language; `encyclopedia_multitask_zeroshot` and
`encyclopedia_multitask_translate_train` do so for the three families at once.
"""

import functools
from collections.abc import Callable, Iterator

from presence_t5x.data.documents import Part, Report
from presence_t5x.data.encyclopedia.corpus import EncyclopediaConfig
from presence_t5x.data.encyclopedia.labelled import generate_ner, generate_nli, generate_qa
from presence_t5x.data.encyclopedia.lexicons import LANGUAGES
from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file as own_vocabulary_file
from presence_t5x.data.finetuning.examples import ExamplesSource, LabelledExample
from presence_t5x.data.finetuning.families import FAMILIES
from presence_t5x.data.preprocessors import add_labels
from presence_t5x.data.quiet_tensorflow import seqio
from presence_t5x.data.text_tasks import add_pair_task, replace_mixture
from presence_t5x.data.vocabularies import find_vocabulary, specification_of

NAME = "encyclopedia"
SOURCE_LANGUAGE = "en"
GENERATORS = {"nli": generate_nli, "qa": generate_qa, "ner": generate_ner}
NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 5000, 500, 1000
# (split of the generator, first example, number of examples) of every split.
_RANGES = {
    "train": ("train", 0, NUM_TRAIN),
    "validation": ("validation", 0, NUM_VALIDATION),
    "test": ("validation", NUM_VALIDATION, NUM_TEST),
}


def register_encyclopedia_examples(vocabulary_file: str | None = None) -> None:
    """Registers all tasks and mixtures; another vocabulary than last time replaces them.

    Args:
      vocabulary_file: see `load_vocabulary`; None is the encyclopedia's own.
    """
    vocabulary = find_vocabulary(vocabulary_file or own_vocabulary_file())
    sample = task_name("nli", "train", SOURCE_LANGUAGE)
    if sample in seqio.TaskRegistry.names():
        known = seqio.TaskRegistry.get(sample).output_features["targets"].vocabulary
        if specification_of(known) == specification_of(vocabulary):
            return
    zeroshot, translated = [], []
    for family in GENERATORS:
        train = [_add(family, "train", code, ("train",), vocabulary) for code in LANGUAGES]
        held_out = ("validation", "test")
        evaluation = [_add(family, "eval", code, held_out, vocabulary) for code in LANGUAGES]
        english = task_name(family, "train", SOURCE_LANGUAGE)
        replace_mixture(f"{NAME}_{family}_zeroshot", [english, *evaluation])
        replace_mixture(f"{NAME}_{family}_translate_train", [*train, *evaluation])
        zeroshot += [english, *evaluation]
        translated += [*train, *evaluation]
    replace_mixture(f"{NAME}_multitask_zeroshot", zeroshot)
    replace_mixture(f"{NAME}_multitask_translate_train", translated)


def task_name(family: str, kind: str, language: str) -> str:
    """Returns the name of a task; `kind` is "train" or "eval".

    >>> task_name("qa", "eval", "sw")
    'encyclopedia_qa_eval.sw'
    """
    return f"{NAME}_{family}_{kind}.{language}"


def _add(family, kind, language, splits, vocabulary) -> str:
    found = FAMILIES[family]
    config = EncyclopediaConfig(languages=(language,))
    name = task_name(family, kind, language)
    parts = {split: [Part(name=split, task=name, split=split)] for split in splits}
    read = functools.partial(_read, found.read, config, GENERATORS[family])
    content = functools.partial(repr, (config, {split: _RANGES[split] for split in splits}))
    add_pair_task(
        name,
        ExamplesSource(
            found,
            parts,
            read,
            num_examples={split: _RANGES[split][2] for split in splits},
            content=content,
        ),
        vocabulary,
        to_text=[found.to_text, add_labels],
        metric_fns=found.metric_fns(language),
        postprocess_fn=found.postprocess_fn,
    )
    return name


def _read(
    read_record: Callable,
    config: EncyclopediaConfig,
    generate: Callable,
    part: Part,
    report: Report,
) -> Iterator[LabelledExample]:
    """The examples of a split."""
    del report  # nothing is broken
    split, first, number = _RANGES[part.name]
    examples = generate(config, split=split, num_examples=first + number)
    for line, example in enumerate(examples[first:], 1):
        yield LabelledExample(read_record(example), example["id"], example["language"], NAME, line)
