"""Tasks of labelled examples in files of your own (JSON lines; see `presence_t5x.data.finetuning`).

For a family (nli, qa, ner, paws, glue_cola, super_glue_boolq ...) and every language found:
`local_nli_train.<lang>` (split train) and `local_nli_eval.<lang>` (validation, test). Mixtures,
every member at rate 1:
`local_nli_zeroshot` trains on English, `local_nli_multilingual` on all languages that have a train
split; both are judged in every language.
"""

from collections.abc import Mapping, Sequence

from presence_t5x.data.finetuning.families import LOCAL, local_family
from presence_t5x.data.finetuning.file_names import SPLITS
from presence_t5x.data.finetuning.files import LocalExamples, find_examples
from presence_t5x.data.preprocessors import add_labels
from presence_t5x.data.quiet_tensorflow import seqio
from presence_t5x.data.text_tasks import add_pair_task, replace_mixture
from presence_t5x.data.vocabularies import find_vocabulary

SOURCE_LANGUAGE = "en"
_SPLITS_OF_KINDS = {"train": SPLITS[:1], "eval": SPLITS[1:]}


def register_local_examples(
    family_name: str, files: str | Mapping[str, str], vocabulary_file: str
) -> LocalExamples:
    """Registers the tasks and mixtures of a family, in place of earlier ones over other files.

    The files are read once, to find the languages and what is broken.

    Args:
      family_name: one of `FAMILIES`.
      files: a pattern, or {split: pattern} (see `LocalExamples`).
      vocabulary_file: see `load_vocabulary`.

    Returns:
      what the files hold.

    Raises:
      ValueError: there is no example, or the names of the files tell no split.
    """
    vocabulary = find_vocabulary(vocabulary_file)
    examples = find_examples(family_name, files)
    if not any(map(examples.languages, SPLITS)):
        examples.check()
        raise ValueError(f"local_task_files={files!r} holds no example; give other files")
    for registry in (seqio.MixtureRegistry, seqio.TaskRegistry):
        for name in [name for name in registry.names() if local_family(name) == family_name]:
            registry.remove(name)
    train = _add_tasks(examples, "train", vocabulary)
    evaluation = [*_add_tasks(examples, "eval", vocabulary).values()]
    if SOURCE_LANGUAGE in train:
        members = [train[SOURCE_LANGUAGE], *evaluation]
        replace_mixture(f"{LOCAL}_{family_name}_zeroshot", members)
    if train:
        members = [*train.values(), *evaluation]
        replace_mixture(f"{LOCAL}_{family_name}_multilingual", members)
    return examples


def _add_tasks(examples: LocalExamples, kind: str, vocabulary: seqio.Vocabulary) -> dict[str, str]:
    """Registers the tasks of a kind; returns their names by language."""
    family = examples.family
    splits: Sequence[str] = _SPLITS_OF_KINDS[kind]
    to_text = family.to_training_text if kind == "train" else None
    names = {}
    for language in sorted({code for split in splits for code in examples.languages(split)}):
        suffix = language.replace("-", "_")
        names[language] = f"{LOCAL}_{family.name}_{kind}.{suffix}"
        add_pair_task(
            names[language],
            examples.source(language, splits),
            vocabulary,
            to_text=[to_text or family.to_text, add_labels],
            metric_fns=family.metric_fns(language),
            postprocess_fn=family.postprocess_fn,
        )
    return names
