"""Statistics of units, against weights that are worked out by hand."""

import math

import numpy as np
import pytest

from presence_t5x.studies.unit_statistics import unit_statistics

# The softmax of the normalised 1, 2, 3, 4 at temperature 1; reversed at -1.
WEIGHTS = np.array([0.041560, 0.101653, 0.248637, 0.608150])


def test_weights_of_a_step():
    values, share = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 0.0, 0.25, 1.0])
    found = unit_statistics(values, share, units_per_step=4)
    size = 1 / np.sum(WEIGHTS**2) / 4
    assert found["ess_direct"] == pytest.approx(size, rel=1e-4)
    assert found["ess_inverse"] == pytest.approx(size, rel=1e-4)
    kept = (WEIGHTS[::-1] @ share) / share.mean()
    assert found["noise_weight"] == pytest.approx(kept, rel=1e-4)
    assert found["noise_weight"] < 1
    assert found["spread"] == pytest.approx(math.sqrt(1.25) / 2.5)
    assert found["auroc_any"] == 1.0 and found["auroc_above"] == 1.0


def test_temperatures_have_their_own_sample_sizes():
    found = unit_statistics(np.array([1.0, 1.0, 1.0, 9.0]), np.zeros(4), units_per_step=4)
    z = np.array([-1.0, -1.0, -1.0, 3.0]) / math.sqrt(3)
    for name, temperature in (("ess_direct", 1.0), ("ess_inverse", -1.0)):
        weights = np.exp(temperature * z) / np.exp(temperature * z).sum()
        assert found[name] == pytest.approx(1 / np.sum(weights**2) / 4, rel=1e-4)
    assert math.isnan(found["noise_weight"]) and math.isnan(found["auroc_any"])


def test_units_that_fill_no_step_have_no_weights():
    found = unit_statistics(np.array([1.0, 2.0]), np.array([0.0, 1.0]), units_per_step=4)
    assert "ess_direct" not in found and found["auroc_any"] == 1.0
