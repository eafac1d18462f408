"""Labelled examples in files: formats, languages, splits, shares, and everything that is broken."""

import collections
import dataclasses
import gzip
import json

import numpy as np
import pytest
import seqio
import zstandard
from hypothesis import assume, given
from hypothesis import strategies as st

from presence_t5x import prepare
from presence_t5x.config import load_config
from presence_t5x.config_types import DataConfig
from presence_t5x.data.finetuning.evaluation_sets import evaluation_sets
from presence_t5x.data.finetuning.families import FAMILIES
from presence_t5x.data.finetuning.file_names import Share, parse_share
from presence_t5x.data.finetuning.files import LocalExamples, find_examples
from presence_t5x.data.prepared import open_stores, source_of, write_store
from presence_t5x.data.providers import find_provider
from presence_t5x.data.sources import check_data, open_batches, resolve_vocabulary
from presence_t5x.data.token_store import open_store

LENGTHS = {"inputs": 64, "targets": 24}
NLI = {"premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment"}
QA = {
    "id": "q",
    "question": "Who?",
    "context": "Ana did it.",
    "answers": {"text": ["Ana", "it"], "answer_start": [0, 8]},
}
NER = {"tokens": ["Ana", "in", "Rio", "."], "tags": ["B-PER", "O", "B-LOC", "O"]}
PAWS = {"sentence1": "a", "sentence2": "b", "label": 1}
RECORDS = {"nli": NLI, "qa": QA, "ner": NER, "paws": PAWS}


def write(path, records):
    """Objects as JSON lines, strings as lines; compressed as the name says."""
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records]
    content = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
    if path.suffix == ".gz":
        content = gzip.compress(content)
    if path.suffix == ".zst":
        content = zstandard.compress(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def config_for(name, files, **changes):
    settings = {"task_feature_lengths": LENGTHS, "batch_size": 4, "vocabulary_file": "bytes"}
    return DataConfig(mixture_or_task_name=name, local_task_files=files, **{**settings, **changes})


TEXTS = {
    "nli": ("xnli: premise: It rains. hypothesis: It is wet.", "0"),
    "qa": ("question: Who ? context: Ana did it . ", "Ana"),
    "ner": ("tag: Ana in Rio .", "PER: Ana $$ LOC: Rio"),
    "paws": ("paws sentence1: a sentence2: b", "paraphrase"),
}


@pytest.mark.parametrize("family", RECORDS)
def test_every_family_has_the_text_of_mt5(family, tmp_path):
    write(tmp_path / "train.en.jsonl.gz", [RECORDS[family]])
    write(tmp_path / "dev.sw.jsonl.zst", [RECORDS[family]])
    config = config_for(f"local_{family}_zeroshot", str(tmp_path))
    check_data(config, 512)
    (found,) = evaluation_sets(config, "validation")
    assert (found.task, found.language) == (f"local_{family}_eval.sw", "sw")
    (example,) = found.examples
    assert (example.inputs, example.targets) == TEXTS[family]
    (store,) = open_stores(config, resolve_vocabulary(config), prepared_root=tmp_path / "stores")
    document = store[int(store.documents_with(split="train")[0])]
    vocabulary = seqio.ByteVocabulary()
    assert tuple(vocabulary.decode(part.tolist()) for part in document.pair) == TEXTS[family]
    assert document.labels[1:] == ("en", "train.en.jsonl.gz", "")
    gold = {"nli": "0", "qa": ["Ana", "it"], "ner": TEXTS["ner"][1], "paws": 1}[family]
    assert example.gold == gold
    right = "Ana" if family == "qa" else example.targets
    assert next(iter(found.score([right]).values())) in (100, pytest.approx(1))


SAME_LABELS = {
    0: ["entailment", "Entailment ", 0, "0"],
    1: ["neutral", 1, "1"],
    2: ["contradiction", "contradictory", 2, "2"],
}


def test_labels_by_name_and_by_number():
    for number, labels in SAME_LABELS.items():
        for label in labels:
            assert FAMILIES["nli"].read({**NLI, "label": label})["label"] == number
    for label, number in (("different_meaning", 0), ("paraphrase", 1), ("1", 1)):
        assert FAMILIES["paws"].read({**PAWS, "label": label})["label"] == number


SAME_ANSWERS = [
    {"text": ["Ana", "it"], "answer_start": [0, 8]},
    [{"text": "Ana", "answer_start": 0}, {"text": "it", "answer_start": 8}],
    {"text": ["Ana", "it"]},
    [{"text": "Ana"}, {"text": "it"}],
    ["Ana", "it"],
]


@pytest.mark.parametrize("answers", SAME_ANSWERS)
def test_answers_in_every_common_form(answers):
    found = FAMILIES["qa"].read({**QA, "answers": answers})["answers"]
    assert found["text"] == ["Ana", "it"]
    assert found["answer_start"] in ([0, 8], [])


def with_answers(*texts, starts=None):
    return {
        **QA,
        "answers": {"text": [*texts]} | ({} if starts is None else {"answer_start": starts}),
    }


def with_premise(escaped):
    return f'{{"premise": "{escaped}", "hypothesis": "h", "label": 0}}'


BROKEN = {
    "nli": [
        ({"premise": "x"}, "no_field", "no field 'hypothesis' (found ['premise']); add it or"),
        ({**NLI, "premise": " "}, "empty_text", "premise=' ' must be a non-empty string"),
        ({**NLI, "premise": 3}, "empty_text", "premise=3 must be a non-empty string"),
        ({**NLI, "label": "-"}, "unknown_label", "label='-' must be one of ['entailment',"),
        ({**NLI, "label": 3}, "unknown_label", "label=3 must be one of"),
        ({**NLI, "label": -1}, "unknown_label", "label=-1 must be one of"),
        ({**NLI, "label": True}, "unknown_label", "label=True must be one of"),
        ({**NLI, "label": None}, "unknown_label", "label=None must be one of"),
        ({**NLI, "lang": "?!"}, "language", "language '?!' is no code like 'sw'"),
        ({**NLI, "lang": ["sw"]}, "language", "language ['sw'] is no code"),
        ([NLI], "json", "list, not an object; write one object a line"),
        ('{"premise": "a"', "json", "broken JSON"),
        (with_premise("\\ud800"), "encoding", "'premise' has half a surrogate pair"),
        (with_premise("a\\u0000"), "encoding", "NUL at character 1 of 'premise'"),
    ],
    "qa": [
        (with_answers(), "no_answer", "must hold at least one text"),
        ({**QA, "answers": []}, "no_answer", "must hold at least one text"),
        ({**QA, "answers": "Ana"}, "no_answer", "answers='Ana' must hold at least one text"),
        ({"question": "q", "context": "c"}, "no_field", "no field 'answers'"),
        (with_answers("Ana", ""), "empty_text", "list of non-empty strings"),
        ({**QA, "context": ""}, "empty_text", "context='' must be a non-empty string"),
        ({**QA, "question": None}, "empty_text", "question=None must be"),
        (
            with_answers("it", starts=[10]),
            "answer_offset",
            "answer_start=10 with 2 characters lies",
        ),
        (with_answers("it", starts=[-1]), "answer_offset", "answer_start=-1 with"),
        (with_answers("it", starts=["8"]), "answer_offset", "answer_start '8' is no whole number"),
        (with_answers("it", starts=[0, 8]), "answer_offset", "1 answers but answer_start=[0, 8]"),
    ],
    "ner": [
        ({**NER, "tags": ["O"] * 3}, "tag_count", "4 tokens but 3 tags; give one tag a token"),
        ({**NER, "tags": ["PER"] * 4}, "unknown_label", "tag 'PER' is none of O, B-TYPE"),
        ({"tokens": [], "tags": []}, "empty_text", "tokens=[] must be a list of non-empty"),
        ({**NER, "tokens": ["a", "", "b", "c"]}, "empty_text", "list of non-empty strings"),
        ({**NER, "tags": "O O O O"}, "empty_text", "tags='O O O O' must be a list"),
    ],
    "paws": [
        ({**PAWS, "label": 2}, "unknown_label", "one of ['different_meaning', 'paraphrase'] or 0"),
    ],
}


@pytest.mark.parametrize("family", BROKEN)
def test_broken_rows_are_reported_by_file_and_line(family, tmp_path):
    """By the check before a run, by the store and by the evaluation; the rest is kept."""
    good = {**RECORDS[family], "id": "good"}
    records, kinds, messages = zip(*BROKEN[family])
    write(tmp_path / "in" / "train.en.jsonl", [good, "", *records, {**good, "id": "too"}])
    write(tmp_path / "in" / "dev.en.jsonl", [*records, good])
    places = {
        (f"{split}.en.jsonl", line, kind)
        for split, first in (("train", 3), ("dev", 1))
        for line, kind in enumerate(kinds, first)
    }
    config = config_for(f"local_{family}_zeroshot", str(tmp_path / "in"))
    with pytest.raises(ValueError, match=r"^train.en.jsonl:3: ") as caught:
        check_data(config, 512)
    said = f"({2 * len(kinds) - 1} more problems); python -m presence_t5x.prepare leaves broken"
    assert messages[0] in str(caught.value) and said in str(caught.value)
    with pytest.raises(ValueError, match=r"^dev.en.jsonl:1: "):
        open_batches(config, prepared_root=tmp_path / "stores")
    directory = tmp_path / "store"
    store = write_store(source_of(config), directory, resolve_vocabulary(config), strict=False)
    counts = collections.Counter(kinds)
    assert len(store) == 3 and store.manifest["problems"] == {k: 2 * n for k, n in counts.items()}
    lines = (directory / "problems.jsonl").read_text().splitlines()
    problems = [json.loads(line) for line in lines]
    assert {(found["file"], found["line"], found["kind"]) for found in problems} == places
    for found in problems:
        number = found["line"] - (3 if found["file"] == "train.en.jsonl" else 1)
        assert messages[number] in found["message"], found
    (judged,) = evaluation_sets(config, "validation")
    assert len(judged.examples) == 1
    found = {(problem.file, problem.line, problem.kind) for problem in judged.problems}
    assert found == {place for place in places if place[0] == "dev.en.jsonl"}


def test_damaged_files_are_reported(tmp_path):
    write(tmp_path / "train.en.jsonl.gz", [NLI] * 500)
    cut = write(tmp_path / "dev.en.jsonl.gz", [{**NLI, "premise": str(i)} for i in range(500)])
    cut.write_bytes(cut.read_bytes()[:-200])
    write(tmp_path / "test.en.jsonl", [])
    (tmp_path / "test.sw.json").write_bytes(b'{"premise": "\xff"}\n')
    (tmp_path / "train.de.txt").write_text("text")
    (tmp_path / "README.md").write_text("about")
    examples = LocalExamples(FAMILIES["nli"], str(tmp_path))
    found = {(p.file, p.kind) for p in examples.problems}
    assert found == {
        ("dev.en.jsonl.gz", "truncated"),
        ("test.en.jsonl", "empty_file"),
        ("test.sw.json", "encoding"),
        ("train.de.txt", "unknown_kind"),
        ("README.md", "unknown_kind"),
    }
    with pytest.raises(ValueError, match=r"dev.en.jsonl.gz:\d+: cannot be read to its end"):
        examples.check()


def test_what_is_wrong_with_whole_files_is_in_the_store_once(tmp_path):
    for code in ("en", "sw"):
        write(tmp_path / "in" / f"train.{code}.jsonl", [NLI])
    write(tmp_path / "in" / "train.de.jsonl", ["{"])
    (tmp_path / "in" / "train.sw.more.jsonl.gz").write_bytes(b"no gzip")
    (tmp_path / "in" / "train.parquet").write_bytes(b"PAR1")
    (tmp_path / "in" / "README.md").write_text("about")
    write(
        tmp_path / "in" / "train.mixed.jsonl", [{**NLI, "lang": "en"}, "[", {**NLI, "lang": "sw"}]
    )
    config = config_for("local_nli_multilingual", str(tmp_path / "in"))
    find_provider(config)
    directory = tmp_path / "store"
    store = write_store(source_of(config), directory, resolve_vocabulary(config), strict=False)
    lines = (directory / "problems.jsonl").read_text().splitlines()
    found = [(p["file"], p["line"], p["kind"]) for p in map(json.loads, lines)]
    assert sorted(found) == [
        ("README.md", 0, "unknown_kind"),
        ("train.de.jsonl", 1, "json"),
        ("train.mixed.jsonl", 2, "json"),
        ("train.parquet", 0, "unknown_kind"),
        ("train.sw.more.jsonl.gz", 0, "unreadable"),
    ]
    assert store.manifest["problems"] == {"json": 2, "unknown_kind": 2, "unreadable": 1}
    assert len(store) == 4


def test_files_without_any_example_are_an_error(tmp_path):
    write(tmp_path / "train.en.jsonl", [QA])
    config = config_for("local_nli_zeroshot", str(tmp_path))
    with pytest.raises(
        ValueError, match=r"train.en.jsonl:1: no field 'premise' \(found \['answers'"
    ):
        find_provider(config)
    (tmp_path / "train.en.jsonl").rename(tmp_path / "train.en.txt")
    with pytest.raises(ValueError, match=r"train.en.txt: no JSON lines, which labelled examples"):
        find_provider(config)


def test_languages_from_fields_and_names(tmp_path):
    write(tmp_path / "train.jsonl", [{**NLI, "language": code} for code in ("en", "sw", "zh-Latn")])
    write(tmp_path / "mnli_dev-de.jsonl", [NLI])
    write(tmp_path / "test.jsonl", [NLI, {**NLI, "lang": "sw"}, {**NLI, "lang": "en", "label": 9}])
    examples = find_examples("nli", str(tmp_path))
    assert examples.languages("train") == ["en", "sw", "zh-Latn"]
    assert examples.languages("validation") == ["de"]
    assert examples.languages("test") == ["sw", "und"]
    provider = find_provider(config_for("local_nli_multilingual", str(tmp_path)))
    trained = [task.name for task in provider.tasks if "train" in task.splits]
    assert trained == [f"local_nli_train.{code}" for code in ("en", "sw", "zh_Latn")]
    # A broken line whose language is known is not that of another language's task.
    sets = evaluation_sets(config_for("local_nli_multilingual", str(tmp_path)), "test")
    assert [(s.task, s.language, len(s.examples), len(s.problems)) for s in sets] == [
        ("local_nli_eval.sw", "sw", 1, 0),
        ("local_nli_eval.und", "und", 1, 0),
    ]
    assert len(examples.problems) == 1


def test_a_line_that_tells_no_language_is_reported_wherever_its_file_is_read(tmp_path):
    rows = [{**NLI, "lang": "en"}, "{", {"lang": "sw"}, {**NLI, "lang": "sw"}, {"premise": "x"}]
    write(tmp_path / "dev.jsonl", rows)
    sets = evaluation_sets(config_for("local_nli_eval.sw", str(tmp_path)), "validation")
    assert [p.line for p in sets[0].problems] == [2, 3, 5]
    assert [p.line for p in find_examples("nli", str(tmp_path)).problems] == [2, 3, 5]


def test_splits_are_named_or_in_the_names_of_files(tmp_path):
    for name in ("train", "dev", "test", "val", "valid", "validation"):
        write(tmp_path / "named" / f"{name}.en.jsonl", [NLI])
    examples = LocalExamples(FAMILIES["nli"], str(tmp_path / "named"))
    config = config_for("local_nli_zeroshot", str(tmp_path / "named"))
    sizes = {
        s: len(evaluation_sets(config, s)[0].examples) for s in ("train", "validation", "test")
    }
    assert sizes == {"train": 1, "validation": 4, "test": 1} and not examples.problems
    write(tmp_path / "other" / "xquad.en.jsonl", [NLI])
    with pytest.raises(ValueError, match=r"xquad.en.jsonl tells no split .*'test': PATTERN"):
        find_examples("nli", str(tmp_path / "other")).languages("test")
    files = {"train": str(tmp_path / "named" / "train*"), "test": str(tmp_path / "other" / "*")}
    assert find_examples("nli", files).languages("test") == ["en"]
    with pytest.raises(ValueError, match="split 'dev' must be one of"):
        find_examples("nli", {"dev": "x"})


@given(start=st.integers(0, 99), stop=st.integers(1, 100), line=st.integers(1, 10**6))
def test_shares_divide_the_lines(start, stop, line):
    assume(start < stop)
    _, share = parse_share(f"a[{start}%:{stop}%]")
    parts = [share]
    parts += [parse_share(f"a[:{start}%]")[1]] if start else []
    parts += [parse_share(f"a[{stop}%:]")[1]] if stop < 100 else []
    assert sum(part.has(line) for part in parts) == 1


def test_shares_have_their_size_and_keep_neighbours():
    share = parse_share("x/*.jsonl[20%:50%]")[1]
    chosen = np.array([share.has(line) for line in range(1, 30 * 400 + 1)])
    assert abs(chosen.mean() - 0.3) < 0.01
    blocks = chosen.reshape(-1, 30)
    assert (blocks.all(axis=1) | ~blocks.any(axis=1)).all()
    # Spread evenly: every run of ten blocks has 2 to 4 of them.
    runs = blocks[:, 0].reshape(-1, 10).sum(axis=1)
    assert runs.min() >= 2 and runs.max() <= 4
    assert parse_share("a[0-9].jsonl") == ("a[0-9].jsonl", Share())
    assert parse_share("a[:]") == ("a[:]", Share())
    for bad in ("a[50%:20%]", "a[:101%]", "a[30%:30%]"):
        with pytest.raises(ValueError, match=r"the share must be \[FROM%:TO%\]"):
            parse_share(bad)


def test_shares_of_parallel_files_are_parallel(tmp_path):
    for code in ("en", "sw"):
        rows = [{**NLI, "premise": f"{code} {i}"} for i in range(600)]
        rows[17] = "{"  # a broken line moves no boundary
        write(tmp_path / f"dev.{code}.jsonl", rows)
    pattern = str(tmp_path / "dev.*")
    files = {
        "train": f"{pattern}[:70%]",
        "validation": f"{pattern}[70%:80%]",
        "test": f"{pattern}[80%:]",
    }
    config = config_for("local_nli_zeroshot", files)
    numbers = {}
    for split in files:
        for found in evaluation_sets(config, split):
            numbers[split, found.language] = {
                int(example.inputs.split()[3]) for example in found.examples
            }
    train = numbers["train", "en"]
    for code in ("en", "sw"):
        assert not train & numbers["test", code] and not train & numbers["validation", code]
        assert not numbers["validation", code] & numbers["test", code]
    assert numbers["test", "en"] == numbers["test", "sw"]
    assert len(train | numbers["validation", "en"] | numbers["test", "en"]) == 599


def test_both_readers_give_the_same_rows(tmp_path):
    rows = [
        {**NLI, "premise": f"premise {i} " + "long " * (i % 20), "label": i % 3} for i in range(40)
    ]
    write(tmp_path / "in" / "train.en.jsonl", rows)
    write(tmp_path / "in" / "dev.sw.jsonl", rows[:4])
    config = config_for("local_nli_zeroshot", str(tmp_path / "in"))
    prepared = open_batches(config, prepared_root=tmp_path / "stores")
    streaming = open_batches(dataclasses.replace(config, reader="streaming"), prepared_root="x")

    def rows_of(batches, num_batches):
        found = {}
        for batch, _ in zip(batches, range(num_batches)):
            for row, name in enumerate(batch.example_ids):
                features = {key: a[row].tolist() for key, a in batch.features.items()}
                found[name.removeprefix("local_nli_train.en/")] = features
        return found

    first, second = rows_of(prepared.iterate(), 10), rows_of(streaming, 100)
    assert len(first) == 40 and first == second


def test_a_store_knows_when_its_files_have_changed(tmp_path):
    path = write(tmp_path / "in" / "train.en.jsonl", [NLI])
    config = config_for("local_nli_zeroshot", str(tmp_path / "in"))
    open_batches(config, prepared_root=tmp_path / "stores")
    open_batches(config, prepared_root=tmp_path / "stores")
    write(path, [NLI, NLI])
    assert len(evaluation_sets(config, "train")[0].examples) == 2
    with pytest.raises(ValueError, match="prepared with other settings: contents"):
        open_batches(config, prepared_root=tmp_path / "stores")


WRONG = [
    ("local_nli_zeroshot", None, "bytes", "'local_nli_zeroshot' needs local_task_files"),
    ("local_nli_zeroshot", "{}", None, "needs local_task_files .* and vocabulary_file"),
    ("encyclopedia", "{}", None, "local_task_files='.*' belongs to the tasks over files"),
    ("local_text", "{}", "bytes", "needs local_text_files"),
    ("local_nli_zeroshot", "{}/none", "bytes", "matches no file"),
    ("local_nli_translate", "{}", "bytes", "no registered .* did you mean 'local_nli_"),
]


@pytest.mark.parametrize(("name", "files", "vocabulary", "message"), WRONG)
def test_settings_that_do_not_fit(name, files, vocabulary, message, tmp_path):
    write(tmp_path / "train.en.jsonl", [NLI])
    files = files and files.format(tmp_path)
    with pytest.raises(ValueError, match=message):
        find_provider(config_for(name, files, vocabulary_file=vocabulary))


def test_the_macro_names_the_files(tmp_path):
    write(tmp_path / "a.en.jsonl", [NLI])
    files = {"train": str(tmp_path / "a*[:90%]"), "test": str(tmp_path / "a*[90%:]")}
    bindings = [
        "MODEL_DIR='x'",
        "MIXTURE_OR_TASK_NAME='local_nli_zeroshot'",
        "VOCABULARY_FILE='bytes'",
        f"LOCAL_TASK_FILES={files!r}",
    ]
    config = load_config(["configs/runs/pretrain_mt5_base_presence.gin"], bindings).data
    assert config.local_task_files == files
    assert [task.name for task in find_provider(config).tasks] == ["local_nli_train.en"]
    with pytest.raises(ValueError, match="local_task_files='' must be a non-empty string"):
        config_for("local_nli_zeroshot", {"train": ""})


def test_files_by_split_on_the_command_line(tmp_path, capsys):
    write(tmp_path / "a.jsonl", [{**NER, "lang": code} for code in ("en", "sw", "sw")])
    write(tmp_path / "b.jsonl", [{**NER, "lang": "zh"}, "broken"])
    arguments = [
        "--input=local_ner_multilingual",
        f"--task_files=train={tmp_path / 'a.jsonl'}",
        f"--task_files=validation={tmp_path / 'b.jsonl'}",
        f"--output={tmp_path / 'store'}",
        "--vocabulary=bytes",
        "--num_processes=1",
    ]
    assert prepare.main(arguments) == 0
    store = open_store(tmp_path / "store")
    assert [(task.name, task.rate, task.num_documents) for task in store.tasks] == [
        ("local_ner_eval.zh", 1.0, 1),
        ("local_ner_train.en", 1.0, 1),
        ("local_ner_train.sw", 1.0, 2),
    ]
    assert store.num_pairs == 4 and store.manifest["problems"] == {"json": 1}
    assert "problems: json 1; see " in capsys.readouterr().err
    arguments[2] = arguments[1]
    assert prepare.main(arguments) == 2
    assert "SPLIT=PATTERN once for each split" in capsys.readouterr().err
    assert prepare.main([*arguments[:2], arguments[3]]) == 2
    assert "--vocabulary=FILE is needed" in capsys.readouterr().err
