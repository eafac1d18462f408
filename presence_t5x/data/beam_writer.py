"""The parts of a store written by an Apache Beam pipeline, for inputs larger than one machine.

Every element is a part and every worker runs the same `write_part`, so the store is the same, byte
for byte, as one written in a single process. Workers write into the store's work directory: with a
runner on several machines it must be on a file system they share (a mounted bucket, Filestore,
Lustre). A pipeline that failed or was cancelled is started again by the same command and writes
only the parts that are missing.
"""

from collections.abc import Sequence
from typing import Any

from presence_t5x.data.documents import Part
from presence_t5x.data.part_writer import PartJob, Progress, write_part
from presence_t5x.data.store_writer import ReportTotal
from presence_t5x.optional_modules import install_extra

try:
    import apache_beam as beam
    from apache_beam.metrics.metric import Metrics, MetricsFilter
    from apache_beam.options.pipeline_options import PipelineOptions
except ImportError as error:
    raise ValueError(
        f"Apache Beam is not installed; {install_extra('beam')}, or leave --beam out"
    ) from error

_NAMESPACE = "presence_t5x"


class BeamWriter:
    """Writes parts by a pipeline of one step; see `store_writer.WriteParts`."""

    def __init__(self, options: Sequence[str] = ()):
        """Args: Beam's own command line, e.g. ["--runner=FlinkRunner"]; [] is the local runner."""
        self._options = list(options)

    def __call__(
        self, job: PartJob, parts: Sequence[tuple[int, Part]], progress: ReportTotal
    ) -> None:
        """Writes the parts.

        Raises:
          RuntimeError: the pipeline failed; what it finished is kept.
        """
        pipeline = beam.Pipeline(options=PipelineOptions(self._options))
        _ = (
            pipeline
            | "Parts" >> beam.Create(parts, reshuffle=True)
            | "WriteParts" >> beam.ParDo(_WritePart(job))
        )
        try:
            result = pipeline.run()
            state = result.wait_until_finish()
        except Exception as error:
            raise RuntimeError(
                f"the Beam pipeline failed: {str(error).splitlines()[0]}; run the same command "
                "again to continue"
            ) from error
        if state not in (None, "DONE"):
            raise RuntimeError(f"the Beam pipeline ended as {state}; run the same command again")
        progress(_total(result))


class _WritePart(beam.DoFn):
    """Writes one part and counts."""

    def __init__(self, job: PartJob):
        self._job = job
        self._counters = {name: Metrics.counter(_NAMESPACE, name) for name in Progress._fields}

    def process(self, element: tuple[int, Part], *args: Any, **kwargs: Any) -> None:
        number, part = element

        def count(done: Progress) -> None:
            for name, amount in done._asdict().items():
                self._counters[name].inc(amount)

        write_part(self._job, number, part, count)


def _total(result: Any) -> Progress:
    """The sums of all workers' counters."""
    query = MetricsFilter().with_namespace(_NAMESPACE)
    counters = result.metrics().query(query)["counters"]
    totals = {counter.key.metric.name: counter.result for counter in counters}
    return Progress(*(totals.get(name, 0) for name in Progress._fields))
