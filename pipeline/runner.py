"""Beam runners by name. `DirectRunner` is Beam's in-process FnApiRunner, with and without a network."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    TestOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from recipe import MergeDistillError, MissingExtraError, Recipe, WorkerLostError

NAMESPACE = "mergedistill"

# These hold in memory what they group, or lose it, so they are given nothing to group.
LOCAL_RUNNERS = ("DirectRunner", "DaskRunner")


# Beam's threads that end with an error of their own when a worker process is gone.
_WORKER_THREADS = ("run_worker", "beam_control_read", "read_grpc_client_inputs")


def build_pipeline(runner: str, beam_args: list[str], recipe: Recipe, elements: int = 1) -> beam.Pipeline:
    """An empty pipeline for a runner. `beam_args` are Beam's own options; the recipe fills in what they leave out.

    elements: how many pieces of work there will be.

    Raises MergeDistillError for an unknown runner or options that it refuses.
    """
    # In this process Beam both logs a worker's exception and raises it; once is enough.
    level = logging.CRITICAL if runner == "DirectRunner" else logging.ERROR
    logging.getLogger("apache_beam").setLevel(level)
    logging.getLogger("distributed").setLevel(logging.ERROR)
    options = PipelineOptions(beam_args)
    try:
        if runner == "DataflowRunner":
            _dataflow_defaults(options, recipe)
        elif runner == "DaskRunner":
            return beam.Pipeline(_dask(options, elements), options=options)
    except ImportError:
        raise MissingExtraError("dask and distributed", "dask", "--runner DaskRunner") from None
    # Beam's own DirectRunner would try to download another engine, Prism, first.
    engine: Any = FnApiRunner() if runner == "DirectRunner" else runner
    if runner != "DirectRunner":
        options.view_as(StandardOptions).runner = runner
    try:
        return beam.Pipeline(engine, options=options)
    except (ValueError, ImportError, AttributeError) as error:
        hint = " (pip install 'mergedistill[gcp]')" if isinstance(error, ImportError) else ""
        raise MergeDistillError(f"--runner {runner}: {' '.join(str(error).split())[:400]}{hint}") from None


def run_and_wait(pipeline: beam.Pipeline) -> dict[str, int]:
    """Run to the end and return the job's own counters, where the runner knows them.

    A user error or a Ctrl-C in a worker arrives as itself, not as Beam wraps it. Raises WorkerLostError if a worker
    process of a local job ended before its time.
    """
    try:
        with _watched_workers():
            result = pipeline.run()
            if pipeline.options.view_as(TestOptions).dry_run:
                raise MergeDistillError("--dry_run: the job was built and not run")
            result.wait_until_finish()
        return _counters(result)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MergeDistillError | KeyboardInterrupt):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        raise


def is_in_process(runner: str, beam_args: list[str]) -> bool:
    """Whether the work is done in this very process."""
    options = PipelineOptions(beam_args).view_as(DirectOptions)
    return runner == "DirectRunner" and options.direct_running_mode == "in_memory"


@contextmanager
def _watched_workers() -> Iterator[None]:
    """Beam waits for ever for a worker process that was killed: notice that, stop the others, and say so."""
    lost: list[str] = []
    main, before = threading.main_thread(), threading.excepthook

    def on_thread_error(arguments: threading.ExceptHookArgs) -> None:
        name = arguments.thread.name if arguments.thread else ""
        if name not in _WORKER_THREADS:
            before(arguments)
        elif name == "run_worker" and not lost:
            lost.append(str(arguments.exc_value))
            _stop_children()
            signal.pthread_kill(main.ident or 0, signal.SIGINT)

    if threading.current_thread() is not main:
        yield
        return
    threading.excepthook = on_thread_error
    try:
        yield
    except BaseException:
        if not lost:
            raise
    finally:
        if not lost:
            threading.excepthook = before
    if lost:
        raise WorkerLostError(
            f"a worker process was killed ({lost[0]}), perhaps for want of memory: what is finished is kept; run the "
            "same command to go on, or use fewer workers (--direct_num_workers)"
        )


def _stop_children(process: str = "self") -> None:
    """Kill the processes that this one started, and theirs. Does nothing where the system does not list them."""
    for listing in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            for child in listing.read_text().split():
                _stop_children(child)
                os.kill(int(child), signal.SIGKILL)


def _counters(result: Any) -> dict[str, int]:
    try:
        found = result.metrics().query()["counters"]
    except (NotImplementedError, AttributeError, KeyError, ValueError):
        return {}
    return {each.key.metric.name: each.result for each in found if each.key.metric.namespace == NAMESPACE}


def _dask(options: PipelineOptions, elements: int) -> Any:
    """Beam's Dask runner, which its list of runners does not name."""
    from apache_beam.runners.dask.dask_runner import DaskOptions, DaskRunner

    dask = options.view_as(DaskOptions)
    # Beam's own default is 128 elements a partition: most jobs would run on one worker.
    if not dask.npartitions and not dask.partition_size:
        dask.npartitions = max(1, elements)
    return DaskRunner()


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
