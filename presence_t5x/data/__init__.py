"""Text, or inputs and targets -> token stores -> fixed-shape batches.

In flow order: `documents` (what every source yields), `encyclopedia`, `text_files`, `finetuning`
(labelled examples), `task_source` (sources), `vocabularies`, `tokenizers`, `part_writer`,
`store_merge`, `store_writer`, `beam_writer`, `token_store` (tokens written once), `mixing`,
`layouts`, `rows` (which tokens make row r), `raw_rows`, `text_plans`, `span_corruption` and
`masked_tokens` (objectives), `encoder_decoder_rows`, `encoder_rows`, `decoder_rows` and
`row_features` (a model's features), `batches` (the prepared reader), `preprocessors`, `text_tasks`,
`converters` and `streaming` (the same through seqio/tf.data),
`prepared`, `sources` and `evaluation` (what a run opens).
"""
