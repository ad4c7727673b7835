"""Feature pipelines: fitted on the training rows only, saved with the model."""

from thalweg.data.features.categories import Codes, OneHot
from thalweg.data.features.dates import DateParts
from thalweg.data.features.defaults import default_pipeline
from thalweg.data.features.images import Pixels
from thalweg.data.features.numbers import (
    Periodic,
    PiecewiseLinear,
    Quantile,
    Robust,
    Standardise,
)
from thalweg.data.features.pipeline import Pipeline
from thalweg.data.features.sounds import LogMel
from thalweg.data.features.targets import ClassTarget, NumberTarget
from thalweg.data.features.texts import Tokens
from thalweg.data.features.transformer import Transformer, Values

__all__ = [
    "ClassTarget", "Codes", "DateParts", "LogMel", "NumberTarget", "OneHot", "Periodic",
    "PiecewiseLinear", "Pipeline", "Pixels", "Quantile", "Robust", "Standardise", "Tokens",
    "Transformer", "Values", "default_pipeline",
]  # fmt: skip
