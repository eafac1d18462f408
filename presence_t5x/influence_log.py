"""What every unit of every step was and weighed: `influence.parquet` in a run's directory.

A row a unit: step, unit, the documents of its rows, how many rows each language has, target tokens,
score, weight, whether it was live, temperature. The "file" is a folder of parquet files, one from
checkpoint to checkpoint, which every reader of parquet takes for one table; so that a run that
is resumed has neither gaps nor doubles. Of several hosts each writes what its own rows hold; of
those that read the same rows, the first.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from presence_t5x.accumulation import rows_of_units
from presence_t5x.config_types import RunConfig
from presence_t5x.files import replacing
from presence_t5x.host_rows import host_rows
from presence_t5x.losses import count_tokens
from presence_t5x.partitioning import num_unit_parts

if TYPE_CHECKING:  # it imports TensorFlow
    from presence_t5x.data.row_features import Batch

DIRECTORY = "influence.parquet"
SCHEMA = pa.schema(
    {
        "step": pa.int64(),
        "unit": pa.int32(),
        "example_ids": pa.list_(pa.string()),
        "languages": pa.map_(pa.string(), pa.int32()),
        "num_tokens": pa.int64(),
        "score": pa.float32(),
        "weight": pa.float32(),
        "live": pa.bool_(),
        "temperature": pa.float32(),
    }
)


class InfluenceLog:
    """Collects steps and writes them when told to; where it is off it does nothing."""

    def __init__(self, config: RunConfig, mesh: jax.sharding.Mesh | None, *, resume_step: int):
        """Removes what lies beyond the step at which the run goes on.

        Args:
          config: of the run.
          mesh: of the run.
          resume_step: updates done.
        """
        self._enabled = config.influence_log
        self._directory = Path(config.model_dir) / DIRECTORY
        if not self._enabled:
            return
        units = rows_of_units(config.data.batch_size, config.presence, num_unit_parts(mesh))
        self._host = host_rows(mesh)
        size = config.data.batch_size // self._host.count
        first = self._host.index * size
        # Of every unit the rows of this host, by their place in its batches.
        self._rows = [rows[(rows >= first) & (rows < first + size)] - first for rows in units]
        self._waiting: list[tuple[int, Batch, Any]] = []
        self._features = config.model.features
        self._directory.mkdir(parents=True, exist_ok=True)
        for path in self._directory.glob("*.parquet"):  # of all hosts: there may have been more
            if int(path.name.split(".")[0]) > resume_step:
                path.unlink(missing_ok=True)

    def add(self, step: int, batch: "Batch", metrics: dict[str, Any]) -> None:
        """Takes the units out of a step's metrics; leaves them on the devices for now.

        Args:
          step: updates done, this one included.
          batch: this host's rows.
          metrics: of `train_step`.
        """
        if not self._enabled:
            return
        units = metrics.pop("units") | {"temperature": metrics["presence/temperature"]}
        if self._host.is_first:
            self._waiting.append((step, batch._replace(features=self._num_tokens(batch)), units))

    def write(self) -> None:
        """Writes what was added since the last call, as one file."""
        if not self._enabled or not self._waiting:
            return
        rows = [row for entry in self._waiting for row in self._rows_of(*entry)]
        name = f"{self._waiting[-1][0]:012d}.{self._host.index}.parquet"
        with replacing(self._directory / name) as path:
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
        self._waiting = []

    def _rows_of(self, step: int, batch: "Batch", units: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The units of a step that have rows on this host."""
        values = {name: np.asarray(value) for name, value in units.items()}
        found = []
        for unit, rows in enumerate(self._rows):
            real = [row for row in rows if batch.example_ids[row]]
            if not len(rows):
                continue
            found.append(
                {
                    "step": step,
                    "unit": unit,
                    "example_ids": [batch.example_ids[row] for row in real],
                    "languages": list(Counter(batch.languages[row] for row in real).items()),
                    "num_tokens": int(batch.features["num_tokens"][rows].sum()),
                    "score": float(values["scores"][unit]),
                    "weight": float(values["weights"][unit]),
                    "live": bool(values["live"][unit]),
                    "temperature": float(values["temperature"]),
                }
            )
        return found

    def _num_tokens(self, batch: "Batch") -> dict[str, np.ndarray]:
        """Targets of every row, in place of the features, which would fill the memory."""
        return {"num_tokens": count_tokens(self._features, batch.features)}
