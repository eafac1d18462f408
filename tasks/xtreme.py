"""mT5's fine-tuning tasks on TFDS: XNLI, SQuAD, XQuAD, MLQA, TyDi QA GoldP, WikiAnn, PAWS-X.

Names, splits, text and metrics are those of mT5's code (Xue et al. 2021), so that its configs carry
over; what differs:

- QA tasks report every answer normalisation beside mT5's (`presence_t5x.task_metrics`).
- `mt5_pawsx_translate_train_original` has the translations of PAWS-X, as its name says. mT5's code
  registers those of XTREME under this name, too.
- TyDi QA is version 3.0.0, which TFDS builds; 2.1.0, mT5's, is read where it is prepared already.
  Version 3.0.0 corrects where answers begin, which the text does not contain.

Every member of a mixture has rate 1; those without a train split take no part in training.
`mt5_ner_multilingual` is what stands for translate-train in WikiAnn, of which there are no
translations. The vocabulary is mT5's, read from its bucket on first use, or any other.
"""

import functools
from collections.abc import Sequence

from presence_t5x.data.finetuning import formats
from presence_t5x.data.finetuning.examples import TfdsUnion
from presence_t5x.data.finetuning.families import mlqa_metrics
from presence_t5x.data.quiet_tensorflow import seqio
from presence_t5x.data.text_tasks import replace_mixture
from presence_t5x.data.vocabularies import MT5_VOCABULARY_FILE, find_vocabulary
from presence_t5x.tasks.adding import TaskAdder, tfds_source

TYDI_QA_VERSION = "3.0.0"
PAPER_TYDI_QA_VERSION = "2.1.0"

# fmt: off
XNLI = (
    "ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh",
)
XQUAD_TRANSLATED = ("ar", "de", "el", "es", "hi", "ru", "th", "tr", "vi", "zh")
XQUAD = (*XQUAD_TRANSLATED, "en")
MLQA = ("ar", "de", "en", "es", "hi", "vi", "zh")
TYDIQA = ("ar", "bn", "en", "fi", "id", "ko", "ru", "sw", "te")
PAWSX = ("de", "en", "es", "fr", "ja", "ko", "zh")
NER = (
    "af", "ar", "bg", "bn", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "hu",
    "id", "it", "ja", "jv", "ka", "kk", "ko", "ml", "mr", "ms", "my", "nl", "pt", "ru", "sw", "ta",
    "te", "th", "tl", "tr", "ur", "vi", "yo", "zh",
)
# fmt: on

# Tasks that hold the examples of several others of their mixture once more.
UNIONS = (
    "mt5_xnli_dev_test.all_langs",
    "mt5_xquad_test.all_langs",
    "mt5_pawsx_dev_test.all_langs",
    "mt5_tydiqa_train_dev",
)
_SAMPLE_TASK = "mt5_tydiqa_train.en"


def register_xtreme(
    vocabulary_file: str = MT5_VOCABULARY_FILE, tydi_qa_version: str = TYDI_QA_VERSION
) -> None:
    """Registers all tasks and mixtures; other arguments than last time replace them.

    Args:
      vocabulary_file: mT5's, which is not read here, or any other (see `load_vocabulary`).
      tydi_qa_version: of TFDS tydi_qa/goldp.
    """
    tydiqa_name = f"tydi_qa/goldp:{tydi_qa_version}"
    add = TaskAdder(find_vocabulary(vocabulary_file))
    if add.is_in_use(_SAMPLE_TASK):
        known = seqio.TaskRegistry.get(_SAMPLE_TASK).source.tfds_dataset.name
        if known == tydiqa_name:
            return
    _add_xnli(add)
    _add_pawsx(add)
    _add_tydiqa(add, tydiqa_name)
    _add_squad(add)
    _add_mlqa(add)
    _add_ner(add)


def _add_xnli(add: TaskAdder) -> None:
    def in_languages(codes):
        return functools.partial(formats.one_language_each, languages=codes)

    def add_language(name, tfds_name, splits, codes):
        language = codes[0] if len(codes) == 1 else ""
        source = tfds_source(tfds_name, splits)
        return add.task(name, "nli", source, in_languages(codes), language=language)

    held_out = ["validation", "test"]
    train = add.task(
        "mt5_xnli_train", "nli", tfds_source("multi_nli:1.1.0", ["train"]), language="en"
    )
    evaluation = [
        add_language(f"mt5_xnli_dev_test.{name}", "xnli:1.1.0", held_out, codes)
        for name, codes in {"all_langs": XNLI, **{code: [code] for code in XNLI}}.items()
    ]
    translated = [
        add_language(f"mt5_xnli_translate_train.{code}", "xtreme_xnli:1.1.0", ["train"], [code])
        for code in XNLI
        if code != "en"
    ]
    replace_mixture("mt5_xnli_zeroshot", [train, *evaluation])
    replace_mixture("mt5_xnli_translate_train", [train, *evaluation, *translated])


def _add_pawsx(add: TaskAdder) -> None:
    def add_language(name, tfds_name, code, splits):
        return add.task(
            name, "paws", tfds_source(f"{tfds_name}/{code}:1.0.0", splits), language=code
        )

    held_out = ["validation", "test"]
    train = add_language("mt5_paws", "paws_x_wiki", "en", ["train"])
    evaluation = [
        add_language(f"mt5_pawsx_dev_test.{code}", "paws_x_wiki", code, held_out) for code in PAWSX
    ]
    members = {code: tfds_source(f"paws_x_wiki/{code}:1.0.0", held_out) for code in PAWSX}
    union = TfdsUnion(members, held_out)
    evaluation.append(add.task("mt5_pawsx_dev_test.all_langs", "paws", union))
    translated = [
        add_language(f"mt5_pawsx_translate_train.{code}", "xtreme_pawsx", code, ["train"])
        for code in PAWSX
        if code != "en"
    ]
    original = [
        add_language(f"mt5_pawsx_translate_train_original.{code}", "paws_x_wiki", code, ["train"])
        for code in PAWSX
    ]
    replace_mixture("mt5_pawsx_zeroshot", [train, *evaluation])
    replace_mixture("mt5_pawsx_translate_train", [train, *translated, *evaluation])
    replace_mixture("mt5_pawsx_translate_train_original", [*original, *evaluation])


def _add_tydiqa(add: TaskAdder, tfds_name: str) -> None:
    named = formats.name_tydiqa_languages
    english = functools.partial(formats.only_language, language="en")
    every = add.task(
        "mt5_tydiqa_train_dev", "qa", tfds_source(tfds_name, ["train", "validation"]), named
    )
    train = add.task(
        _SAMPLE_TASK, "qa", tfds_source(tfds_name, ["train"]), named, english, language="en"
    )
    evaluation = [
        add.task(
            f"mt5_tydiqa_dev.{code}",
            "qa",
            tfds_source(tfds_name, {"validation": f"validation-{code}"}),
            language=code,
        )
        for code in TYDIQA
    ]
    translated = [
        add.task(
            f"mt5_tydiqa_translate_train.{code}",
            "qa",
            tfds_source(tfds_name, {"train": f"translate-train-{code}"}),
            language=code,
        )
        for code in TYDIQA
        if code != "en"
    ]
    replace_mixture("mt5_tydiqa", [every, *evaluation])
    replace_mixture("mt5_tydiqa_zeroshot", [train, *evaluation])
    replace_mixture("mt5_tydiqa_translate_train", [train, *translated, *evaluation])


def _squad_translations(codes: Sequence[str]) -> list[str]:
    return [f"mt5_xquad_translate_train_dev.{code}" for code in codes]


def _add_squad(add: TaskAdder) -> None:
    english = add.task(
        "mt5_squad_train_dev",
        "qa",
        tfds_source("squad/v1.1:3.0.0", ["train", "validation"]),
        language="en",
    )
    splits = {"train": "translate-train", "validation": "translate-dev"}
    for name, code in zip(_squad_translations(XQUAD_TRANSLATED), XQUAD_TRANSLATED):
        add.task(name, "qa", tfds_source(f"xquad/{code}:3.0.0", splits), language=code)
    sources = {code: tfds_source(f"xquad/{code}:3.0.0", ["test"]) for code in XQUAD}
    evaluation = [add.task("mt5_xquad_test.all_langs", "qa", TfdsUnion(sources, ["test"]))]
    evaluation += [
        add.task(f"mt5_xquad_test.{code}", "qa", source, language=code)
        for code, source in sources.items()
    ]
    translated = _squad_translations(XQUAD_TRANSLATED)
    replace_mixture("mt5_xquad_zeroshot", [english, *evaluation])
    replace_mixture("mt5_xquad_translate_train", [*translated, english, *evaluation])


def _add_mlqa(add: TaskAdder) -> None:
    evaluation = [
        add.task(
            f"mt5_mlqa_dev_test.{code}",
            "qa",
            tfds_source(f"mlqa/{code}:1.0.0", ["validation", "test"]),
            language=code,
            metric_fns=mlqa_metrics(code),
        )
        for code in MLQA
    ]
    english = "mt5_squad_train_dev"
    translated = _squad_translations([code for code in MLQA if code != "en"])
    replace_mixture("mt5_mlqa_zeroshot", [english, *evaluation])
    replace_mixture("mt5_mlqa_translate_train", [*translated, english, *evaluation])


def _add_ner(add: TaskAdder) -> None:
    def add_language(kind, code, splits):
        source = tfds_source(f"wikiann/{code}:1.0.0", splits)
        return add.task(f"mt5_ner_{kind}.{code}", "ner", source, language=code)

    train = {code: add_language("train", code, ["train"]) for code in NER}
    evaluation = [add_language("eval", code, ["validation", "test"]) for code in NER]
    replace_mixture("mt5_ner_zeroshot", [train["en"], *evaluation])
    replace_mixture("mt5_ner_multilingual", [*train.values(), *evaluation])
