"""Text -> token store -> fixed-shape batches.

In flow order: `documents`, `text_files`, `encyclopedia` (sources of documents), `vocabularies`,
`token_store` (tokens written once), `span_corruption`, `rows` (which tokens make row r),
`packing`, `batches` (the prepared reader), `preprocessors` and `streaming` (the same through
seqio/tf.data), `sources` (one entry point for both). Only `vocabularies`, `preprocessors`,
`streaming` and `sources` import seqio and TensorFlow.
"""
