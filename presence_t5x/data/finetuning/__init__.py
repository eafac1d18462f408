"""Labelled examples -> inputs and targets, for fine-tuning and for evaluation.

In flow order: `entity_tags`, `families` (what a record must hold and how answers are judged),
`file_names` and `files` (JSON lines), `examples` (sources of seqio tasks), `formats` (examples to
mT5's text), `evaluation_sets` (what a model is judged on). The tasks are in `presence_t5x.tasks`.
"""
