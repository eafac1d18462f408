"""Answer normalisation, where the field disagrees: a text to its tokens, joined by single spaces.

- `squad`: the SQuAD 1.1 script (Rajpurkar et al. 2016), which mT5 uses for every language of XQuAD
  and TyDi QA: English articles and ASCII punctuation only.
- `mlqa`: the MLQA script (Lewis et al. 2020): Unicode punctuation, articles by language, and
  Chinese characters as tokens; seven languages.
- `script`: ours. The same for any language, with tokens that do not depend on how scripts without
  spaces are spaced: MLQA's rules fail for Thai and Japanese (a whole answer is one token), and
  SQuAD's for Chinese, too.

All of them lower-case first, then delete punctuation, then articles.
"""

import functools
import re
import string
import unicodedata
from collections.abc import Callable

from presence_t5x._validate import check_choice

_ENGLISH_ARTICLES = "a an the"
_MLQA_ARTICLES = {
    "ar": "",
    "de": "ein eine einen einem eines einer der die das den dem des",
    "en": _ENGLISH_ARTICLES,
    "es": "un una unos unas el la los las",
    "hi": "",
    "vi": "của là cái chiếc những",
    "zh": "",
}
_ARABIC_ARTICLE = "\u0627\u0644"  # alef, lam
# Blocks whose scripts are written without spaces between words: Thai, Lao, Tibetan, Burmese, Khmer,
# Japanese kana, Chinese characters and their marks.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035"
    "\u3038-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_MLQA_CHINESE = re.compile("([\u4e00-\u9fa5])")


def normalize_squad(text: str) -> str:
    """Returns a text as the SQuAD 1.1 script compares it.

    >>> normalize_squad("`Needs A_LOT of the 'normalization'.")
    'needs alot of normalization'
    """
    text = _delete(text.lower(), string.punctuation.__contains__)
    return " ".join(_drop_words(text, _ENGLISH_ARTICLES).split())


def normalize_mlqa(text: str, lang: str) -> str:
    """Returns a text as the MLQA script compares it.

    Its quirks are kept: the Arabic article is deleted wherever its two letters stand, inside words
    too, and of Chinese only U+4E00 to U+9FA5 are tokens of their own.

    Args:
      text: an answer.
      lang: ar, de, en, es, hi, vi or zh.

    Raises:
      ValueError: another language; MLQA says nothing about it.

    >>> normalize_mlqa("Las 3 ciudades, ¡sí!", "es"), normalize_mlqa("第5军 A", "zh")
    ('3 ciudades sí', '第 5 军 a')
    """
    check_choice("lang", lang, _MLQA_ARTICLES)
    text = _delete(text.lower(), _is_punctuation)
    text = _drop_words(text, _MLQA_ARTICLES[lang])
    if lang == "ar":
        text = text.replace(_ARABIC_ARTICLE, " ")
    if lang == "zh":
        text = _MLQA_CHINESE.sub(r" \1 ", text)
    return " ".join(text.split())


def normalize_by_script(text: str, lang: str = "") -> str:
    """Returns a text as tokens that no spacing of an unspaced script changes.

    Every character of a script written without spaces (Chinese, Japanese kana, Thai, Lao, Tibetan,
    Burmese, Khmer) is a token, with the marks upon it, in any language; other tokens are what
    stands between spaces or such characters. Compatibility forms are equal (NFKC). Articles are
    MLQA's of the language, the Arabic one at the start of a word only.

    Args:
      text: an answer.
      lang: code of its language; of one that MLQA does not know no article is deleted.

    >>> normalize_by_script("第５军 A"), normalize_by_script("第 5军a")
    ('第 5 军 a', '第 5 军 a')
    """
    text = unicodedata.normalize("NFKC", text).lower()
    text = _drop_words(_delete(text, _is_punctuation), _MLQA_ARTICLES.get(lang, ""))
    if lang == "ar":
        text = re.sub(rf"\b{_ARABIC_ARTICLE}", "", text)
    tokens = []
    for word in text.split():
        is_open = False  # whether the last token goes on
        for character in word:
            is_own = _UNSPACED.match(character) is not None
            is_mark = bool(tokens) and unicodedata.category(character).startswith("M")
            if is_mark or (is_open and not is_own):
                tokens[-1] += character
            else:
                tokens.append(character)
                is_open = not is_own
    return " ".join(tokens)


# By name: (text, code of its language) -> tokens joined by spaces. "mlqa" knows seven languages.
NORMALIZERS: dict[str, Callable[..., str]] = {
    "squad": lambda text, lang: normalize_squad(text),
    "mlqa": normalize_mlqa,
    "script": normalize_by_script,
}


def knows_language(normalizer: str, lang: str) -> bool:
    """Returns whether a normaliser takes a language.

    >>> knows_language("mlqa", "th"), knows_language("script", "th")
    (False, True)
    """
    check_choice("normalizer", normalizer, NORMALIZERS)
    return normalizer != "mlqa" or lang in _MLQA_ARTICLES


def _delete(text: str, is_unwanted: Callable[[str], bool]) -> str:
    return "".join(character for character in text if not is_unwanted(character))


@functools.cache
def _is_punctuation(character: str) -> bool:
    """Unicode's categories P*, and the symbols of ASCII."""
    return unicodedata.category(character).startswith("P") or character in string.punctuation


def _drop_words(text: str, words: str) -> str:
    """A text with a space in place of every whole word of the list."""
    return _words_pattern(words).sub(" ", text) if words else text


@functools.cache
def _words_pattern(words: str) -> re.Pattern[str]:
    return re.compile(rf"\b({'|'.join(words.split())})\b")
