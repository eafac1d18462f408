"""Tasks `mc4.<lang>` and the mixture `mc4`: mT5's pre-training data (Xue et al. 2021, section 3).

The 107 languages and scripts of mC4 through TFDS `c4/multilingual`, which must be prepared already
(26.8 TiB in version 3.0.1; Beam is needed to build it). Hyphens become underscores: `mc4.zh_Latn`.
Documents of a language are concatenated to full rows. The mixture draws a language in proportion to
(number of pages) ** 0.3; pages are counted in version 3.0.1, for every version, so that rates do
not change with the data at hand. The vocabulary is mT5's, read from its bucket on first use.
"""

import functools

from presence_t5x.data.preprocessors import add_labels, text_to_targets
from presence_t5x.data.quiet_tensorflow import seqio
from presence_t5x.data.text_tasks import add_text_task
from presence_t5x.data.vocabularies import MT5_VOCABULARY_FILE, mt5_vocabulary

NAME = "mc4"
DEFAULT_VERSION = "3.1.0"
PAPER_VERSION = "3.0.1"
SAMPLING_EXPONENT = 0.3

# Pages of the train splits of c4/multilingual:3.0.1, from the TFDS catalog.
# fmt: off
NUM_TRAIN_PAGES = {
    "en": 3_079_081_989, "ru": 755_585_265, "es": 416_057_992, "de": 397_006_993, "fr": 332_674_575,
    "it": 186_404_508, "pt": 169_239_084, "pl": 126_164_277, "nl": 96_210_458, "tr": 87_595_290,
    "ja": 87_337_884, "vi": 78_587_159, "id": 69_625_551, "cs": 60_149_680, "zh": 54_542_308,
    "fa": 53_927_287, "ar": 53_256_040, "sv": 48_570_979, "ro": 45_738_857, "el": 41_753_736,
    "uk": 38_556_465, "hu": 36_819_508, "da": 28_777_331, "fi": 26_842_650, "no": 25_402_139,
    "bg": 23_409_799, "hi": 18_507_273, "sk": 17_729_698, "ko": 15_602_947, "th": 15_463_131,
    "ca": 14_492_899, "ms": 13_180_647, "iw": 12_334_609, "lt": 11_274_295, "sl": 8_499_456,
    "mr": 7_774_331, "bn": 7_444_098, "et": 6_941_360, "lv": 6_414_223, "az": 5_285_720,
    "gl": 4_549_465, "cy": 4_131_915, "sq": 4_113_147, "ta": 3_514_561, "sr": 3_398_483,
    "ne": 2_942_785, "lb": 2_740_336, "hy": 2_401_949, "kk": 2_392_401, "ka": 2_295_551,
    "mt": 2_261_303, "af": 2_152_243, "fil": 2_102_197, "is": 2_069_293, "mk": 2_058_417,
    "mn": 2_054_674, "ml": 2_044_981, "ur": 1_950_124, "be": 1_742_030, "la": 1_674_463,
    "eu": 1_555_887, "tg": 1_280_757, "te": 1_188_243, "fy": 1_104_359, "kn": 1_056_849,
    "ky": 995_539, "sw": 985_654, "so": 893_012, "my": 813_530, "uz": 796_416, "km": 756_612,
    "ru-Latn": 745_491, "sd": 743_057, "gu": 631_600, "hi-Latn": 626_154, "jv": 581_528,
    "zu": 555_458, "si": 534_759, "ja-Latn": 533_516, "eo": 500_048, "co": 494_913, "ga": 465_670,
    "el-Latn": 449_943, "zh-Latn": 373_664, "pa": 363_399, "ceb": 351_894, "mg": 345_040,
    "ps": 335_452, "sn": 326_392, "gd": 322_404, "ku": 298_389, "hmn": 295_549, "su": 280_719,
    "ht": 269_174, "ha": 247_479, "ny": 174_696, "am": 162_870, "bg-Latn": 162_461, "yi": 143_708,
    "lo": 141_776, "mi": 101_169, "sm": 98_467, "ig": 92_909, "haw": 84_312, "xh": 69_048,
    "st": 66_837, "yo": 46_214,
}
# fmt: on


def task_name(language: str) -> str:
    """Returns the task of a language code.

    >>> task_name("zh-Latn")
    'mc4.zh_Latn'
    """
    return f"{NAME}.{language.replace('-', '_')}"


def sampling_rate(language: str, exponent: float = SAMPLING_EXPONENT) -> float:
    """Returns pages ** exponent, to be compared with the other languages' rates."""
    return NUM_TRAIN_PAGES[language] ** exponent


def add_url_ids(dataset):
    """The page's address becomes the document's id."""
    return dataset.map(lambda example: {"id": example["url"], **example})


def register_mc4(
    version: str = DEFAULT_VERSION, vocabulary_file: str = MT5_VOCABULARY_FILE
) -> seqio.Mixture:
    """Registers the 107 tasks and the mixture; other arguments than last time replace them.

    Args:
      version: of TFDS c4/multilingual.
      vocabulary_file: mT5's model, or a local copy; it is not read here.

    Returns:
      the mixture `mc4`.
    """
    tfds_name = f"c4/multilingual:{version}"
    if NAME in seqio.MixtureRegistry.names():
        mixture = seqio.MixtureRegistry.get(NAME)
        source, features = mixture.tasks[0].source, mixture.tasks[0].output_features
        found = source.tfds_dataset.name, features["targets"].vocabulary.sentencepiece_model_file
        if found == (tfds_name, vocabulary_file):
            return mixture
        seqio.MixtureRegistry.remove(NAME)
    for language in NUM_TRAIN_PAGES:
        add_text_task(
            task_name(language),
            seqio.TfdsDataSource(
                tfds_name=tfds_name,
                splits={"train": language, "validation": f"{language}-validation"},
                read_only=True,  # otherwise seqio looks for it in a bucket, and would build it
            ),
            mt5_vocabulary(vocabulary_file),
            to_text=[
                add_url_ids,
                text_to_targets,
                functools.partial(add_labels, language=language, source=NAME),
            ],
            concatenate=True,
        )
    rates = [(task_name(language), sampling_rate(language)) for language in NUM_TRAIN_PAGES]
    return seqio.MixtureRegistry.add(NAME, rates)
