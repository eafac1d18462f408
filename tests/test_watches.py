"""Signs of weights that work against the run, and skipped updates in a row."""

import json
import threading
import time
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from presence_t5x.metrics import _correlation
from presence_t5x.resilience import host_watch
from presence_t5x.resilience.host_watch import HostWatch, Peer, lost_host
from presence_t5x.resilience.skip_watch import SkipWatch
from presence_t5x.resilience.weight_watch import WeightWatch


def metrics(size=4.0, temperature=1.0, correlation=0.0, live=8):
    return {
        "presence/effective_sample_size": size,
        "presence/num_live_units": live,
        "presence/temperature": temperature,
        "presence/score_loss_correlation": correlation,
    }


def test_the_last_that_a_host_tells_is_its_end(monkeypatch):
    """Though its thread was about to tell how far it is."""
    told, begun = {}, threading.Event()

    def key_value_set(key, value, allow_overwrite):
        if not json.loads(value)["ended"]:
            begun.set()
            time.sleep(0.2)
        told[key] = value

    service = SimpleNamespace(
        key_value_set=key_value_set, key_value_dir_get=lambda prefix: [*told.items()]
    )
    monkeypatch.setattr(host_watch, "client", lambda: service)
    monkeypatch.setattr(host_watch.jax, "process_count", lambda: 2)
    watch = HostWatch(0.5, "again")
    assert begun.wait(30)
    watch.close()
    (value,) = told.values()
    assert json.loads(value)["ended"]


CASES = {
    "collapse": (metrics(size=1.1, temperature=3.0), "|temperature| is too large"),
    "no spread": (metrics(size=8.0), "the weighting is off"),
    "inverse first": (metrics(temperature=-1.0), "slow to begin"),
    "blind spot": (metrics(temperature=-1.0, correlation=-0.8), "loss stays high"),
}


@pytest.mark.parametrize("sign", CASES)
def test_a_sign_is_told_once_it_lasts_and_then_rarely(sign):
    shown, text = CASES[sign]
    first_step = 2000 if sign == "blind spot" else 1  # inverse weighting late is no sign itself
    watch, told = WeightWatch(), []
    for step in range(first_step, first_step + 300):
        told += [(step, *found) for found in watch.look(step, shown)]
    assert {found[1] for found in told} == {sign}
    assert [found[0] - first_step + 1 for found in told] == [20, 220]  # logged steps
    assert text in told[0][2]


def test_healthy_weights_and_unweighted_runs_are_quiet():
    watch = WeightWatch()
    rng = np.random.default_rng(0)
    for step in range(1, 500):
        sizes = metrics(size=rng.uniform(1.2, 7.9), correlation=rng.uniform(-0.3, 0.9))
        assert not watch.look(step, sizes)
        assert not watch.look(step, {"train/loss": 1.0})
    for step in range(500, 600):  # the same numbers with nothing to weigh
        assert not watch.look(step, metrics(size=1.0, live=1))
        assert not watch.look(step, metrics(size=8.0, temperature=0.0))


def test_a_resumed_watch_warns_as_one_that_was_not_stopped():
    rows = [{"step": step, **metrics(size=1.0)} for step in range(1, 260)]
    whole = WeightWatch()
    expected = [found for row in rows for found in whole.look(row["step"], row)]
    for stopped_at in (1, 19, 20, 130):
        watch, told = WeightWatch(), []
        for row in rows[:stopped_at]:
            told += watch.look(row["step"], row)
        watch = WeightWatch()
        watch.resume(rows[:stopped_at])
        for row in rows[stopped_at:]:
            told += watch.look(row["step"], row)
        assert told == expected and len(expected) == 2


def test_the_correlation_is_that_of_numpy_over_live_units():
    rng = np.random.default_rng(1)
    scores, losses = rng.normal(size=(2, 9)).astype(np.float32)
    live = np.arange(9) < 6
    scores[8] = np.nan
    found = float(_correlation(jnp.asarray(scores), jnp.asarray(losses), jnp.asarray(live)))
    assert found == pytest.approx(np.corrcoef(scores[:6], losses[:6])[0, 1], abs=1e-5)
    assert float(_correlation(jnp.ones(3), jnp.arange(3.0), jnp.ones(3, bool))) == 0


def feed(skips, limit, so_far=0):
    """Feeds steps that are skipped or not; returns the step at which the watch tells, if any."""
    watch, total = SkipWatch(limit, so_far), so_far
    for step, skipped in enumerate(skips, start=1):
        total += skipped
        found = watch.add(step, f"batch {step}", {"train/num_skipped_updates": jnp.int32(total)})
        if found:
            assert found.step == step and found.batch == f"batch {step}"  # nothing ran beyond it
            return found.step, found.num_in_a_row
    return None


def test_skipped_updates_in_a_row():
    assert feed([0, 0, 1, 1, 1, 1], limit=3) == (5, 3)
    assert feed([1, 1, 0, 1, 1, 0, 1, 1], limit=3) is None
    assert feed([0, 0, 0, 0, 1], limit=1) == (5, 1)
    assert feed([1, 1], limit=2, so_far=7) == (2, 2)
    assert feed([0] * 9 + [1] * 10, limit=10) == (19, 10)
    assert feed([1] * 50, limit=None) is None


def told(process, step, time=0.0, ended=False):
    return {"process": process, "host": f"h{process}", "step": step, "time": time, "ended": ended}


def peers(*rows):
    """Hosts from (what was told, heard at, moved at)."""
    found = []
    for content, heard, moved in rows:
        peer = Peer()
        peer.told, peer.heard, peer.moved = content, heard, moved
        found.append(peer)
    return found


def test_who_is_lost():
    fine = peers((told(0, 5), 99, 95), (told(1, 6), 99, 99))
    assert lost_host(fine, 10, 100) is None
    silent = peers((told(0, 5), 99, 80), (told(1, 5), 80, 80))
    assert "host 1 (h1) has told nothing for 20 s" in str(lost_host(silent, 10, 100))
    stuck = peers((told(0, 5), 99, 80), (told(1, 6), 99, 80))
    assert "host 0 (h0) is stuck: at step 5 for 20 s while others are at 6" in str(
        lost_host(stuck, 10, 100)
    )
    waiting = peers((told(0, 5), 99, 80), (told(1, 5), 99, 80))  # a long evaluation
    assert lost_host(waiting, 10, 100) is None
    done = peers((told(0, 9, ended=True), 10, 10), (told(1, 9), 99, 99))
    assert lost_host(done, 10, 100) is None
