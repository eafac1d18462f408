"""The launch scripts: what they would run, that a shell reads it again, and what they refuse."""

import shlex
import subprocess
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[1] / "scripts" / "launch"
TRAINING = ["--gin_file=configs/runs/x.gin", "--gin.MODEL_DIR='\"/shared/a b\"'"]
OPTIONS = {
    "tpu_vm.sh": ["--name=n", "--zone=z", "--accelerator_type=v4-256", "--spot=yes"],
    "gke.sh": ["--name=n", "--cluster=c", "--zone=z", "--tpu_type=v4-256", "--num_slices=2"],
    "slurm.sh": ["--name=n", "--nodes=4", "--gpus_per_node=8"],
}


def launch(script, *options, training=TRAINING):
    command = ["bash", str(LAUNCH / script), *options, "--", *training]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("script", OPTIONS)
def test_dry_run_prints_commands_and_runs_none(script, tmp_path, monkeypatch):
    for tool in ("gcloud", "xpk", "sbatch", "git"):  # would leave a trace
        fake = tmp_path / tool
        fake.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    result = launch(script, *OPTIONS[script], "--dry_run")
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "ran").exists()
    script_lines = [
        line.removeprefix("# script: ")
        for line in result.stdout.splitlines()
        if line.startswith("# script: ")
    ]
    words = [word for line in result.stdout.splitlines() for word in shlex.split(line, True)]
    # The training command inside, as the remote shell reads it.
    for text in [*words, *script_lines]:
        if "presence_t5x.train" in text:
            remote = shlex.split(text.split("&& ")[-1])
            assert remote[-2:] == TRAINING and "--stopped_status=75" in remote
            break
    else:
        pytest.fail(f"no training command in {result.stdout}")


@pytest.mark.parametrize("script", OPTIONS)
def test_wrong_options_are_one_line(script):
    for options, message in (
        ([*OPTIONS[script], "--nam=x"], "unknown option --nam"),
        (OPTIONS[script][1:], "--name=... is missing"),
    ):
        result = launch(script, *options, "--dry_run")
        assert result.returncode == 2 and result.stderr.count("\n") == 1
        assert message in result.stderr and not result.stdout
    result = launch(script, *OPTIONS[script], training=[])
    assert result.returncode == 2 and "nothing to train" in result.stderr


def test_scripts_restart_what_was_preempted():
    slurm = launch("slurm.sh", *OPTIONS["slurm.sh"], "--dry_run").stdout
    assert "--requeue" in slurm and "--signal=TERM@150" in slurm
    assert 'if [ "$status" -eq 75 ]; then' in slurm and "scontrol requeue" in slurm
    gke = launch("gke.sh", *OPTIONS["gke.sh"], "--dry_run").stdout
    assert "--max-restarts=100 --restart-on-user-code-failure" in gke


def test_a_preempted_slice_is_made_anew_and_the_run_started_again(tmp_path, monkeypatch):
    """gcloud played by a script: the first run ends with its slice, the second one is through."""
    (tmp_path / "gcloud").write_text(
        f"""#!/bin/bash
echo "$4 $*" >> {tmp_path}/calls
case "$4" in
  describe) cat {tmp_path}/state 2>/dev/null || exit 1 ;;
  create) echo READY > {tmp_path}/state ;;
  ssh) if [[ "$*" == *presence_t5x.train* ]] && [ ! -e {tmp_path}/again ]; then
         touch {tmp_path}/again; echo PREEMPTED > {tmp_path}/state; exit 1
       fi ;;
esac
"""
    )
    (tmp_path / "gcloud").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    result = launch("tpu_vm.sh", *OPTIONS["tpu_vm.sh"])
    assert result.returncode == 0, result.stderr
    calls = [line.split()[0] for line in (tmp_path / "calls").read_text().splitlines()]
    changes = [call for call in calls if call in ("create", "delete")]
    assert changes == ["create", "delete", "create"]
    trained = [
        line for line in (tmp_path / "calls").read_text().splitlines() if "t5x.train" in line
    ]
    assert len(trained) == 2
