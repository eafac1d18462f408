"""Text -> token stores -> fixed-shape batches.

In flow order: `documents` (what every source yields), `encyclopedia`, `text_files`, `task_source`
(sources), `vocabularies`, `tokenizers`, `part_writer`, `store_merge`, `store_writer`,
`beam_writer`, `token_store` (tokens written once), `mixing`, `rows` (which tokens make row r),
`span_corruption`, `batches` (the prepared reader), `preprocessors` and `streaming` (the same
through seqio/tf.data), `prepared`, `sources` and `evaluation` (what a run opens).
"""
