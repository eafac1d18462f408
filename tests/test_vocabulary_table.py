"""A table of tokens that does not fit its vocabulary is refused in the words of its own model."""

import re
from types import SimpleNamespace

import pytest

from presence_t5x.config_types import DecoderOnlyConfig, EncoderOnlyConfig, T5Config
from presence_t5x.diagnosis import run_data
from presence_t5x.run_directory import with_vocabulary

BYTES = SimpleNamespace(vocab_size=359)
SOURCES = SimpleNamespace(check_data=lambda data, rows: BYTES)


@pytest.mark.parametrize("family", [T5Config, DecoderOnlyConfig, EncoderOnlyConfig])
def test_a_table_too_large_names_the_setting_of_its_own_family(family, monkeypatch):
    model = family(vocab_size=4096)
    run = SimpleNamespace(model=model, data=SimpleNamespace(mixture_or_task_name="t"))
    remedy = f"set {family.__name__}.vocab_size=384, or"
    with pytest.raises(ValueError, match=re.escape(remedy)):
        with_vocabulary(run, SOURCES)  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(run_data, "sentinels_of", lambda _: SimpleNamespace(num_sentinels=100))
    assert run_data.judge_vocabulary("t", BYTES, model).fix.startswith(remedy)
