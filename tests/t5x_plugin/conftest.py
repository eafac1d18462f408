"""Compilers that do not try hard (half of these tests' time would be theirs), and a quiet T5X."""

import logging

import jax
import pytest

collect_ignore = ["read_configs.py"]  # a program that needs T5X


@pytest.fixture(scope="package", autouse=True)
def compile_quickly():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="package", autouse=True)
def hear_errors_alone():
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)
