"""Beam runners by name. `DirectRunner` is Beam's in-process FnApiRunner, with and without a network."""

from __future__ import annotations

import logging
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    TestOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from recipe import MergeDistillError, Recipe


def build_pipeline(runner: str, beam_args: list[str], recipe: Recipe) -> beam.Pipeline:
    """An empty pipeline for a runner. `beam_args` are Beam's own options; the recipe fills in what they leave out.

    Raises MergeDistillError for an unknown runner or options that it refuses.
    """
    # In this process Beam both logs a worker's exception and raises it; once is enough.
    level = logging.CRITICAL if runner == "DirectRunner" else logging.ERROR
    logging.getLogger("apache_beam").setLevel(level)
    options = PipelineOptions(beam_args)
    if runner == "DataflowRunner":
        _dataflow_defaults(options, recipe)
    # Beam's own DirectRunner would try to download another engine, Prism, first.
    engine: Any = FnApiRunner() if runner == "DirectRunner" else runner
    if runner != "DirectRunner":
        options.view_as(StandardOptions).runner = runner
    try:
        return beam.Pipeline(engine, options=options)
    except (ValueError, ImportError, AttributeError) as error:
        hint = " (pip install 'mergedistill[gcp]')" if isinstance(error, ImportError) else ""
        raise MergeDistillError(f"--runner {runner}: {' '.join(str(error).split())[:400]}{hint}") from None


def run_and_wait(pipeline: beam.Pipeline) -> None:
    """Run to the end. A user error or a Ctrl-C in a worker arrives as itself, not as Beam wraps it."""
    try:
        result = pipeline.run()
        if pipeline.options.view_as(TestOptions).dry_run:
            raise MergeDistillError("--dry_run: the job was built and not run")
        result.wait_until_finish()
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MergeDistillError | KeyboardInterrupt):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        raise


def _dataflow_defaults(options: PipelineOptions, recipe: Recipe) -> None:
    worker = options.view_as(WorkerOptions)
    worker.machine_type = worker.machine_type or recipe.dataflow.machine_type
    worker.disk_size_gb = worker.disk_size_gb or recipe.dataflow.disk_size_gb
    worker.sdk_container_image = worker.sdk_container_image or recipe.dataflow.image
    cloud = options.view_as(GoogleCloudOptions)
    cloud.job_name = cloud.job_name or f"mergedistill-{recipe.name}".lower().replace("_", "-").replace(".", "-")
    if worker.sdk_container_image:
        # The image holds our packages and Beam: nothing is to be staged or installed on a worker.
        options.view_as(SetupOptions).sdk_location = options.view_as(SetupOptions).sdk_location or "container"
