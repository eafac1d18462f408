"""Compiled programs as text, written by hand, with answers that can be counted on paper."""

# ruff: noqa: E501  (a line of a program is a line)

# A loop of 5 whose body runs a loop of 3. The inner one says so, as on CPUs; the outer one must be
# derived, as on TPUs: its counter starts at 2 through a copy, steps by 2, and stays below 12.
NESTED_LOOPS = """
HloModule nested, is_scheduled=true

FileNames
1 "a.py"

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(128)} parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%inner_body (state: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %state = (s32[]{:T(128)}, f32[4,8]{1,0:T(8,128)S(3)}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  %x = f32[4,8]{1,0} get-tuple-element(%state), index=1
  %w = f32[8,8]{1,0} constant({...})
  %y = f32[4,8]{1,0} dot(%x, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %reduced = f32[4,8]{1,0} all-reduce(%y), replica_groups={{0,1}}, to_apply=%add
  ROOT %out = (s32[], f32[4,8]{1,0}) tuple(%next, %reduced)
}

%inner_condition (state.1: (s32[], f32[4,8])) -> pred[] {
  %state.1 = (s32[], f32[4,8]{1,0}) parameter(0)
  ROOT %flag = pred[] custom-call(%state.1), custom_call_target="unreadable"
}

%outer_body (state.2: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %state.2 = (s32[], f32[4,8]{1,0}) parameter(0)
  %i.2 = s32[] get-tuple-element(%state.2), index=0
  %two = s32[] constant(2)
  %next.2 = s32[] add(%two, %i.2)
  %x.2 = f32[4,8]{1,0} get-tuple-element(%state.2), index=1
  %zero = s32[] constant(0)
  %start = (s32[], f32[4,8]{1,0}) tuple(%zero, %x.2)
  %loop = (s32[], f32[4,8]{1,0}) while(%start), condition=%inner_condition, body=%inner_body, metadata={op_name="a (b" stack_frame_id=2}, backend_config={"known_trip_count":{"n":"3"}}
  %x.3 = f32[4,8]{1,0} get-tuple-element(%loop), index=1
  ROOT %out.2 = (s32[], f32[4,8]{1,0}) tuple(%next.2, %x.3)
}

%outer_condition (state.3: (s32[], f32[4,8])) -> pred[] {
  %state.3 = (s32[], f32[4,8]{1,0}) parameter(0)
  %i.3 = s32[] get-tuple-element(%state.3), index=0
  %end = s32[] constant(12)
  ROOT %less = pred[] compare(%i.3, %end), direction=LT
}

ENTRY %main (x.4: f32[4,8]) -> f32[4,8] {
  %x.4 = f32[4,8]{1,0} parameter(0)
  %begin = s32[] constant(2)
  %copied = s32[]{:T(128)} copy(%begin)
  %start.2 = (s32[], /*index=1*/f32[4,8]{1,0}) tuple(%copied, %x.4)
  %loop.2 = (s32[], f32[4,8]{1,0}) while(%start.2), condition=%outer_condition, body=%outer_body
  ROOT %result = f32[4,8]{1,0} get-tuple-element(%loop.2), index=1
}
"""

COLLECTIVES = """
HloModule collectives

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%all-reduce-scatter.1 (operand: bf16[64,8]) -> bf16[16,8] {
  %operand = bf16[64,8]{1,0:T(8,128)(2,1)} parameter(0)
  %all-reduce.9 = bf16[64,8]{1,0} all-reduce(%operand), replica_groups={{0,1,2,3}}, to_apply=%add
  %zero = s32[] constant(0)
  ROOT %part = bf16[16,8]{1,0} dynamic-slice(%all-reduce.9, %zero, %zero), dynamic_slice_sizes={16,8}
}

ENTRY %main (x: f32[10], y: bf16[6,2], z: bf16[64,8]) -> f32[40] {
  %x = f32[10]{0} parameter(0)
  %y = bf16[6,2]{1,0} parameter(1)
  %z = bf16[64,8]{1,0} parameter(2)
  %both = (f32[10]{0}, bf16[6,2]{1,0}) all-reduce(%x, %y), replica_groups=mesh['a'=4] {'a'}, to_apply=%add
  %part = bf16[16,8]{1,0} fusion(%z), kind=kCustom, calls=%all-reduce-scatter.1
  %plain = bf16[16,8]{1,0} reduce-scatter(%z), dimensions={0}, to_apply=%add
  %gather-start = (f32[10]{0}, f32[40]{0:T(1024)S(3)}, u32[]{:S(2)}) all-gather-start(%x), dimensions={0}
  %gathered = f32[40]{0} all-gather-done(%gather-start)
  %sum-start = f32[10]{0} all-reduce-start(%x), to_apply=%add
  %summed = f32[10]{0} all-reduce-done(%sum-start)
  %moved-start = (f32[10]{0}, f32[10]{0}, u32[], u32[]) collective-permute-start(%x), source_target_pairs={{0,1}}
  %moved = f32[10]{0} collective-permute-done(%moved-start)
  %swapped = bf16[64,8]{1,0} all-to-all(%z), dimensions={0}
  ROOT %result = f32[40]{0} copy(%gathered)
}
"""

# One all-gather beside one product of 2 x 4 x 8 x 16 FLOPs: the text holds it three times.
OVERLAPPED = """
HloModule overlapped

%fused.1 (a: f32[10]) -> (f32[10], f32[40]) {
  %a = f32[10]{0} parameter(0)
  %first = f32[40]{0} all-gather(%a), channel_id=7, dimensions={0}
  ROOT %started = (f32[10]{0}, f32[40]{0}) tuple(%a, %first)
}

%async_collective_fusion.5 (b: f32[10], left: f32[4,8], right: f32[8,16]) -> (f32[4,16], f32[40]) {
  %b = f32[10]{0} parameter(0)
  %left = f32[4,8]{1,0} parameter(1)
  %right = f32[8,16]{1,0} parameter(2)
  %product = f32[4,16]{1,0} convolution(%left, %right), dim_labels=bf_io->bf
  %second = f32[40]{0} all-gather(%b), channel_id=7, dimensions={0}
  ROOT %both = (f32[4,16]{1,0}, f32[40]{0}) tuple(%product, %second)
}

%fused.2 (c: f32[10]) -> f32[40] {
  %c = f32[10]{0} parameter(0)
  ROOT %third = f32[40]{0} all-gather(%c), channel_id=7, dimensions={0}
}

ENTRY %main (x: f32[10], y: f32[4,8], z: f32[8,16]) -> f32[40] {
  %x = f32[10]{0} parameter(0)
  %y = f32[4,8]{1,0} parameter(1)
  %z = f32[8,16]{1,0} parameter(2)
  %async-collective-start.3 = (f32[10]{0}, f32[40]{0}) fusion(%x), kind=kCustom, calls=%fused.1
  %carried = f32[10]{0} get-tuple-element(%async-collective-start.3), index=0
  %fusion.9 = (f32[4,16]{1,0}, f32[40]{0}) fusion(%carried, %y, %z), kind=kCustom, calls=%async_collective_fusion.5
  ROOT %async-collective-done.3 = f32[40]{0} fusion(%carried), kind=kCustom, calls=%fused.2
}
"""

# Fusions and calls are followed, of the branches 40 and 80 + 16 FLOPs the larger one counts.
BRANCHES = """
HloModule branches

%small (a: f32[40]) -> f32[40] {
  %a = f32[40]{0} parameter(0)
  ROOT %negative = f32[40]{0} negate(%a)
}

%fused (b: f32[40]) -> f32[40] {
  %b = f32[40]{0} parameter(0)
  %exp = f32[40]{0} exponential(%b)
  %scaled = f32[40]{0} multiply(%exp, %b)
  ROOT %shifted = f32[40]{0} add(%scaled, %b)
}

%callee (c: f32[16]) -> f32[16] {
  %c = f32[16]{0} parameter(0)
  ROOT %absolute = f32[16]{0} abs(%c)
}

%large (d: f32[40]) -> f32[40] {
  %d = f32[40]{0} parameter(0)
  %slice = f32[16]{0} slice(%d), slice={[0:16]}
  %called = f32[16]{0} call(%slice), to_apply=%callee
  ROOT %fusion = f32[40]{0} fusion(%d), kind=kLoop, calls=%fused
}

ENTRY %main (e: f32[40], which: pred[]) -> f32[40] {
  %e = f32[40]{0} parameter(0)
  %which = pred[] parameter(1)
  ROOT %chosen = f32[40]{0} conditional(%which, %e, %e), true_computation=%small, false_computation=%large
}
"""


def loop(
    *, start="constant(0)", end="constant(7)", step="constant(1)", direction="LT", order="i, n"
):
    """Returns a program that runs a loop whose body negates three numbers."""
    return f"""
%body (state: (s32[], f32[3], s32[])) -> (s32[], f32[3], s32[]) {{
  %state = (s32[], f32[3]{{0}}, s32[]) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %x = f32[3]{{0}} get-tuple-element(%state), index=1
  %carried = s32[] get-tuple-element(%state), index=2
  %step = s32[] {step}
  %next = s32[] add(%i, %step)
  %y = f32[3]{{0}} negate(%x)
  ROOT %out = (s32[], f32[3]{{0}}, s32[]) tuple(%next, %y, %carried)
}}

%condition (state.1: (s32[], f32[3], s32[])) -> pred[] {{
  %state.1 = (s32[], f32[3]{{0}}, s32[]) parameter(0)
  %i = s32[] get-tuple-element(%state.1), index=0
  %n = s32[] {end}
  ROOT %go = pred[] compare({", ".join("%" + name for name in order.split(", "))}), direction={direction}
}}

ENTRY %main (x: f32[3], p: s32[]) -> f32[3] {{
  %x = f32[3]{{0}} parameter(0)
  %p = s32[] parameter(1)
  %start = s32[] {start}
  %limit = s32[] constant(9)
  %init = (s32[], f32[3]{{0}}, s32[]) tuple(%start, %x, %limit)
  %w = (s32[], f32[3]{{0}}, s32[]) while(%init), condition=%condition, body=%body
  ROOT %r = f32[3]{{0}} get-tuple-element(%w), index=1
}}
"""


def convolution(window, labels, left, right, result):
    """Returns a program of one convolution in bf16."""
    return f"""
ENTRY %main (x: bf16[{left}], y: bf16[{right}]) -> bf16[{result}] {{
  %x = bf16[{left}] parameter(0)
  %y = bf16[{right}] parameter(1)
  ROOT %z = bf16[{result}] convolution(%x, %y), {window}dim_labels={labels}, metadata={{op_name="dot"}}
}}
"""
