"""Reads a drawn chart back as a person does: from its ticks, without the plotting code."""

import math

import numpy as np


def axis_reader(svg, *, horizontal, log):
    """Returns picture -> data, fitted through the ticks a reader sees, without the plot's code."""
    ticks = []
    for text in svg.iter("text"):
        if text.get("class") == "tick" and (text.get("text-anchor") == "end") != horizontal:
            value = float(text.text.replace("−", "-").replace(",", ""))
            place = float(text.get("x")) if horizontal else float(text.get("y")) - 4
            ticks.append((place, math.log10(value) if log else value))
    assert len(ticks) >= 2
    slope, offset = np.polyfit(*zip(*ticks), 1)
    np.testing.assert_allclose([slope * p + offset for p, _ in ticks], [v for _, v in ticks],
                               atol=2e-3 * abs(ticks[-1][1] - ticks[0][1]))  # fmt: skip
    return lambda place: 10 ** (slope * place + offset) if log else slope * place + offset


def points_of(element):
    return [tuple(map(float, pair.split(","))) for pair in element.get("points").split()]


def tooltips(svg):
    """Returns the lines of every tooltip of a line chart, keyed by its first line."""
    told = [title.text.split("\n") for title in svg.iter("title")]
    return {first: rest for first, *rest in told}
