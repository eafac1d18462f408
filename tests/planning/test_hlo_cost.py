"""Hand-written programs cost what can be counted on paper."""

import math

import programs
import pytest

from presence_t5x.planning.hlo_cost import program_cost
from presence_t5x.planning.hlo_flops import WindowDimension, valid_positions
from presence_t5x.planning.hlo_text import ArrayShape, parse_module


def test_text_becomes_instructions():
    module = parse_module(programs.NESTED_LOOPS)
    assert module.entry == "main"
    assert set(module.computations) == {
        "add", "inner_body", "inner_condition", "outer_body", "outer_condition", "main",
    }  # fmt: skip
    body = module.computations["inner_body"]
    assert body.root == "out"
    assert body.instructions["state"].shape == (ArrayShape("s32", ()), ArrayShape("f32", (4, 8)))
    assert body.instructions["y"].operands == ("x", "w")
    assert module.computations["outer_body"].instructions["loop"].known_trip_count == 3


def test_loops_multiply():
    outer, inner = 5, 3
    cost = program_cost(programs.NESTED_LOOPS)
    assert cost.matmul_flops == outer * inner * 2 * 4 * 8 * 8
    # In the inner body one add of the counter and a sum for each reduced element; in the outer one
    # an add of the counter, and a comparison.
    assert cost.other_flops == outer * (inner * (1 + 4 * 8) + 1 + 1)
    (reduction,) = cost.collectives
    assert reduction[:4] == ("all-reduce", 4 * 4 * 8, outer * inner, True)
    assert cost.collective_bytes == outer * inner * 4 * 4 * 8
    assert cost.unknown_loops == ()
    assert program_cost(programs.NESTED_LOOPS, loops_once=True).matmul_flops == 2 * 4 * 8 * 8


DOWN = {"start": "constant(7)", "end": "constant(0)", "step": "constant(-1)"}


@pytest.mark.parametrize(
    ("changes", "iterations"),
    [
        ({}, 7),
        ({"start": "constant(3)"}, 4),
        ({"start": "constant(8)"}, 0),
        ({"step": "constant(2)"}, 4),  # 0, 2, 4, 6
        ({"direction": "LE"}, 8),
        ({"direction": "NE"}, 7),
        (DOWN | {"direction": "GT"}, 7),
        (DOWN | {"direction": "GE"}, 8),
        ({"order": "n, i", "direction": "GT"}, 7),
        ({"end": "get-tuple-element(%state.1), index=2"}, 9),  # a bound that the loop carries
    ],
)  # fmt: skip
def test_iterations_follow_from_the_condition(changes, iterations):
    cost = program_cost(programs.loop(**changes))
    counting = 2  # the counter's add and the comparison
    assert (cost.other_flops, cost.unknown_loops) == (iterations * (3 + counting), ())


@pytest.mark.parametrize(
    "changes",
    [{"start": "copy(%p)"}, {"step": "constant(0)"}, {"direction": "EQ"}, {"step": "constant(-1)"}],
)
def test_a_loop_that_does_not_tell_is_named_and_counted_once(changes):
    cost = program_cost(programs.loop(**changes))
    assert (cost.other_flops, cost.unknown_loops) == (5, ("w",))


def test_calls_are_followed_and_the_largest_branch_counts():
    cost = program_cost(programs.BRANCHES)
    assert (cost.other_flops, cost.transcendentals) == (2 * 40 + 16, 40)


def test_collectives_are_counted_by_the_stated_rule():
    found = [collective[:4] for collective in program_cost(programs.COLLECTIVES).collectives]
    assert found == [
        ("all-reduce", 4 * 10 + 2 * 12, 1, False),  # all operands, whole
        ("reduce-scatter", 2 * 64 * 8 // 2, 1, False),  # in a fusion that XLA names so
        ("reduce-scatter", 2 * 64 * 8 // 2, 1, False),
        ("all-gather", 4 * 40 // 2, 1, False),  # started and done is one
        ("all-reduce", 4 * 10, 1, False),
        ("collective-permute", 4 * 10, 1, False),
        ("all-to-all", 2 * 64 * 8, 1, False),
    ]


def test_a_collective_that_overlaps_products_is_one():
    cost = program_cost(programs.OVERLAPPED)
    assert [collective[:4] for collective in cost.collectives] == [
        ("all-gather", 4 * 40 // 2, 1, False)
    ]
    assert cost.matmul_flops == 2 * 4 * 8 * 16


# How TPU programs write matrix products; batch dimensions may be spatial ones.
@pytest.mark.parametrize(
    ("window", "labels", "left", "right", "result", "product"),
    [
        ("", "bf_io->bf", "16,32", "32,64", "16,64", (16, 32, 64)),
        ("window={size=1}, ", "0bf_io0->0bf", "4,16,32", "32,64,1", "4,16,64", (4 * 16, 32, 64)),
        # A batch of 8 x 4 products: one input is valid for each output of a dilated dimension.
        (
            "window={size=8x4 stride=7x3 lhs_dilate=8x4}, ",
            "01bf_01oi->01bf", "8,4,16,32", "8,4,64,32", "8,4,16,64", (8 * 4, 16, 32, 64),
        ),
        # Heads as outputs: padded and reversed, a kernel of 4 over an input of 1.
        (
            "window={size=1x4 pad=0_0x3_3 rhs_reversal=0x1}, ",
            "0bf1_i1o0->0b1f", "2,16,32,1", "32,4,8,1", "2,16,4,8", (2 * 16, 32, 4 * 8),
        ),
        # Rows contracted: a window over all inputs, one output.
        ("window={size=16}, ", "0fb_0io->bf0", "16,8,32", "16,8,64", "32,64,1", (32, 16 * 8, 64)),
    ],
)  # fmt: skip
def test_matrix_products_written_as_convolutions(window, labels, left, right, result, product):
    text = programs.convolution(window, labels, left, right, result)
    assert program_cost(text).matmul_flops == 2 * math.prod(product)


def test_valid_positions_equal_the_definition():
    """Every kernel element laid over every output, one at a time."""
    for stride, low, base, window, size, inputs in [
        (1, 0, 1, 1, 3, 7), (2, 3, 1, 2, 3, 9), (3, 2, 4, 1, 5, 4), (1, 6, 3, 2, 4, 5),
    ]:  # fmt: skip
        span = (inputs - 1) * base + 1 + 2 * low
        outputs = (span - ((size - 1) * window + 1)) // stride + 1
        real = {low + index * base for index in range(inputs)}
        expected = sum(
            output * stride + kernel * window in real
            for output in range(outputs)
            for kernel in range(size)
        )
        dimension = WindowDimension(size, stride, low, low, base, window)
        count = valid_positions(dimension, num_inputs=inputs, kernel_size=size, num_outputs=outputs)
        assert count == expected > 0


def test_text_that_is_no_program():
    with pytest.raises(ValueError, match="no computation is marked ENTRY"):
        program_cost("nothing here")
