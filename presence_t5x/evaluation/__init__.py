"""Judging a model by its answers to tasks: `python -m presence_t5x.evaluate`, and during training.

In flow order: `checkpoints` (a model from any checkpoint, with the settings it was trained with),
`settings` (what is asked of it, and how), `predictor` (answers, a batch at a time), `evaluator`
(answers and scores of sets), `scores` (rows and averages), `files` (what an evaluation leaves),
`display`, `selection` (the best step of a run), `during_training`.
"""
