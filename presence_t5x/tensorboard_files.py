"""TensorBoard's event files of a run that is resumed: no step twice."""

from pathlib import Path

from presence_t5x.files import replacing


def drop_steps_beyond(directory: Path, step: int) -> None:
    """Rewrites the event files that hold later steps, or a torn end, without them.

    Each is replaced in one step; a file of which nothing is left is removed.
    """
    # Only where it is used: these import TensorFlow.
    from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore

    from presence_t5x.data.quiet_tensorflow import tf

    for path in sorted(directory.glob("events.out.tfevents.*")):
        records, whole = [], True
        try:
            records.extend(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        except tf.errors.DataLossError:  # what a kill left of the last record
            whole = False
        kept = [record for record in records if Event.FromString(record).step <= step]
        if whole and len(kept) == len(records):
            continue
        if not any(Event.FromString(record).HasField("summary") for record in kept):
            path.unlink()
            continue
        with replacing(path) as partial, tf.io.TFRecordWriter(str(partial)) as writer:
            for record in kept:
                writer.write(record)
