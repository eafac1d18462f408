"""All metadata of the package; pyproject.toml holds the build system and tool settings alone."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

BEAM_REQUIREMENTS = ["apache-beam", "google-crc32c"]  # the latter for seqio's own caching
T5X_REQUIREMENTS = ["cached-property", "fiddle"]  # what T5X needs of PyPI beside our own needs
TPU_REQUIREMENTS = ["libtpu"]  # the compiler: it plans for TPUs on machines without one
TEST_REQUIREMENTS = [
    *BEAM_REQUIREMENTS,
    "beartype",
    "hypothesis",
    "playwright",  # drives an installed Chromium, and brings none
    "pytest",
    "pytest-xdist",
]

setup(
    name="presence-t5x",
    version="0.1.0",
    description="Pre-train mT5-style models with self-influence weighted gradients in JAX",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["presence_t5x", "presence_t5x.*"]),
        "presence_t5x.configs",
        "presence_t5x.configs.models",
        "presence_t5x.configs.plans",
        "presence_t5x.configs.runs",
        "presence_t5x.configs.studies",
        "presence_t5x.configs.t5x",
        "presence_t5x.tasks",
    ],
    package_dir={
        "presence_t5x": "presence_t5x",
        "presence_t5x.configs": "configs",
        "presence_t5x.tasks": "tasks",
    },
    package_data={
        "presence_t5x.configs.models": ["*.gin"],
        "presence_t5x.configs.plans": ["*.gin", "*.toml"],
        "presence_t5x.configs.runs": ["*.gin"],
        "presence_t5x.configs.studies": ["*.toml"],
        "presence_t5x.configs.t5x": ["*.gin"],
        "presence_t5x.data.encyclopedia": ["*.model"],
        "presence_t5x": ["constraints.txt", "py.typed"],
        "presence_t5x.reporting": ["template.html", "*.js"],
    },
    install_requires=[
        "absl-py",
        "array_record",
        "clu",
        "flax",
        "fsspec",
        "gin-config",
        "grain",
        "jax>=0.10.2",
        "jaxtyping",
        "ml-dtypes",
        "msgpack",
        "numpy",
        "optax>=0.2.8",
        "orbax-checkpoint",
        "psutil",
        "pyarrow",
        "rich",
        "safetensors",
        "scipy",
        "sentencepiece",
        "seqio",
        "tensorboard",
        "tensorflow",
        "tensorflow-datasets",
        "tensorstore",
        "zstandard",
    ],
    extras_require={
        "beam": BEAM_REQUIREMENTS,
        "t5x": T5X_REQUIREMENTS,
        "tpu": TPU_REQUIREMENTS,
        "test": TEST_REQUIREMENTS,
        "dev": [*TEST_REQUIREMENTS, *TPU_REQUIREMENTS, "pyright[nodejs]", "ruff"],
    },
)
