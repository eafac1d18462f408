"""The command on real runs: a good one passes, each spoilt one is told with its fix."""

import json
import subprocess
import sys

import pytest
import tiny_model
from hostile.valid import Valid

from presence_t5x import doctor


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    return Valid(tmp_path_factory.mktemp("valid"))


def arguments(model_dir, gin="pretrain_local", **changes):
    values = {"MODEL_DIR": str(model_dir), "BATCH_SIZE": 16, "NUM_MICROBATCHES": 2, **changes}
    values |= tiny_model.SETTINGS
    bindings = [f"--gin.{name}={value!r}" for name, value in values.items()]
    return [f"--gin_file=configs/runs/{gin}.gin", "--json", *bindings]


def ask(capsys, *words, status):
    """The findings of a command, by check; the last of each."""
    capsys.readouterr()
    assert doctor.main(list(words)) == status
    content = json.loads(capsys.readouterr().out)
    assert content["verdict"] == "fault" if status else content["verdict"] != "fault"
    return {one["check"]: one for one in content["findings"]}


def local(valid, model_dir, **changes):
    files = {"LOCAL_TEXT_FILES": str(valid.texts), "VOCABULARY_FILE": "bytes"}
    return arguments(model_dir, **files | changes)


def prepared(store, model_dir, **changes):
    changes = {"PREPARED_STORES": str(store), "MIX_BY": "task", **changes}
    return arguments(model_dir, "pretrain_prepared", **changes)


def test_a_good_run(valid, tmp_path, capsys):
    found = ask(capsys, *local(valid, tmp_path / "run"), status=0)
    wanted = {"python", "packages", "open files", "devices", "settings", "vocabulary", "mesh"}
    wanted |= {"data", "data files", "memory", "disk", "write access", "clocks", "extra t5x"}
    assert wanted <= set(found)
    assert "359 ids, 100 sentinels" in found["vocabulary"]["what"]
    assert "8 x cpu" in found["devices"]["what"]
    assert "prepared when the run first starts" in found["data"]["what"]
    assert not (tmp_path / "run").exists()


def test_without_a_run(capsys):
    found = ask(capsys, "--json", status=0)
    assert {"python", "packages", "devices"} <= set(found) and "settings" not in found


def test_wrong_usage(capsys):
    for words in (["--surprise"], ["--gin.BATCH_SIZE=5"], ["positional"]):
        assert doctor.main(words) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ") and captured.err.count("\n") == 1


def test_settings_that_no_run_takes(capsys):
    found = ask(capsys, "--json", "--gin_file=configs/runs/pretrain_local.gin", status=1)
    assert "MODEL_DIR" in found["settings"]["fix"] and "devices" in found


def test_a_vocabulary_larger_than_the_table(valid, tmp_path, capsys):
    words = [*local(valid, tmp_path / "run"), "--gin.T5Config.vocab_size=128"]
    found = ask(capsys, *words, status=1)
    assert "smaller than the vocabulary" in found["vocabulary"]["what"]
    assert found["vocabulary"]["fix"].startswith("set vocab_size >= 359")


def test_rows_that_do_not_fit_the_devices(valid, tmp_path, capsys):
    found = ask(capsys, *local(valid, tmp_path / "run", BATCH_SIZE=12), status=1)
    assert "batch_size=12" in found["mesh"]["what"]


def test_files_that_are_not_there(valid, tmp_path, capsys):
    words = local(valid, tmp_path / "run", LOCAL_TEXT_FILES=str(tmp_path / "*.jsonl"))
    assert "matches no file" in ask(capsys, *words, status=1)["data"]["what"]


def test_a_place_that_cannot_be_written(valid, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    found = ask(capsys, *local(valid, tmp_path / "file" / "run"), status=1)
    assert "is a file" in found["write access"]["what"]


def test_a_store(valid, tmp_path, capsys):
    store = valid.copy("store", tmp_path)
    found = ask(capsys, *prepared(store, tmp_path / "run"), status=0)
    assert "30 documents" in found["data"]["what"] and "--thorough" in found["data"]["what"]
    (part,) = store.glob("*.array_record")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(bytes(content))
    ask(capsys, *prepared(store, tmp_path / "run"), status=0)  # what is quick does not see it
    found = ask(capsys, *prepared(store, tmp_path / "run"), "--thorough", status=1)
    assert "SHA-256 differs" in found["data"]["what"] and "delete" in found["data"]["fix"]
    part.write_bytes(bytes(content[:-9]))
    found = ask(capsys, *prepared(store, tmp_path / "run"), status=1)
    assert "bytes but manifest.json says" in found["data"]["what"]


@pytest.mark.slow
def test_as_a_command(valid, tmp_path):
    command = [sys.executable, "-m", "presence_t5x.doctor", *local(valid, tmp_path / "run")]
    for more, status in ((["--gin.BATCH_SIZE=13"], 1), (["--surprise"], 2)):
        result = subprocess.run([*command, *more], capture_output=True, text=True)
        assert result.returncode == status and "Traceback" not in result.stderr
