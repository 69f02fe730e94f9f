"""Lesson 10: a production pipeline - validated, filtered, transformed; with errors, retries, metrics and back-pressure."""

from . import native
from ._core import DataPipeline, PipelineStats, aggregate_pipeline
from .arrow import ArrowSink, ParquetSink, ParquetSource
from .failures import ErrorRecord, PipelineCancelled, SinkFull, ValidationError
from .metrics import RunStats, StageStats
from .pipeline import Pipeline, PipelineResult, Stream
from .prometheus import PrometheusCollector, prometheus_text
from .workers import Control

__all__ = [
    "ArrowSink",
    "Control",
    "DataPipeline",
    "ErrorRecord",
    "ParquetSink",
    "ParquetSource",
    "Pipeline",
    "PipelineCancelled",
    "PipelineResult",
    "PipelineStats",
    "PrometheusCollector",
    "RunStats",
    "SinkFull",
    "StageStats",
    "Stream",
    "ValidationError",
    "aggregate_pipeline",
    "native",
    "prometheus_text",
]
