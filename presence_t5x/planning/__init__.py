"""What `presence_t5x.plan` is made of: topologies, the compiler's program text, an analytic count.

`topology` names chips and their devices, `hlo_text` parses a compiled program, `hlo_flops`,
`hlo_loops`, `hlo_collectives` and `hlo_cost` count what it does, `analytic` says what it should do.
"""
