"""Feature pipelines: fitted on the training rows only, saved with the model."""

from thalweg.data.features.categories import Codes, OneHot
from thalweg.data.features.dates import DateParts
from thalweg.data.features.defaults import default_pipeline
from thalweg.data.features.numbers import (
    Periodic,
    PiecewiseLinear,
    Quantile,
    Robust,
    Standardise,
)
from thalweg.data.features.pipeline import Pipeline
from thalweg.data.features.targets import ClassTarget, NumberTarget
from thalweg.data.features.transformer import Transformer, Values

__all__ = [
    "ClassTarget", "Codes", "DateParts", "NumberTarget", "OneHot", "Periodic", "PiecewiseLinear",
    "Pipeline", "Quantile", "Robust", "Standardise", "Transformer", "Values", "default_pipeline",
]  # fmt: skip
