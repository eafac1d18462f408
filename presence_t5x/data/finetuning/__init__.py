"""Labelled examples -> inputs and targets, for fine-tuning and for evaluation.

In flow order: `entity_tags`, `records` and `benchmark_records` (fields of a JSON object), `family`,
`families` and `benchmarks` (how answers are judged; GLUE's and SuperGLUE's),
`file_names` and `files` (JSON lines), `examples` (sources of seqio tasks), `formats` and
`benchmark_formats` (examples to the text of mT5 and T5), `classification` (label names),
`evaluation_sets` (what a model is judged on). The tasks are in `presence_t5x.tasks`.
"""
