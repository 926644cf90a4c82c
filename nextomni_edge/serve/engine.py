"""The one thread that computes: batches out of the queue, each from noise to answer."""

from __future__ import annotations

import contextlib
import logging
import threading
import time

from nextomni_edge.api.step import Generation, Step
from nextomni_edge.serve.failures import stopping
from nextomni_edge.serve.jobs import FairQueue, Job
from nextomni_edge.serve.limits import Limits
from nextomni_edge.serve.metrics import Metrics

log = logging.getLogger(__name__)


class Engine:
    """Computes jobs, those of one key together. A job's answer is the one that it has by itself:
    the loop batches without cross-talk, and each job has its own seed.

    A runtime uses all processors for one forward, so a second thread would only take turns with
    the first.
    """

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self.limits, self.metrics = limits, metrics
        self.queue = FairQueue(limits.queue)
        self._halted = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        metrics.waiting.set_function(lambda: len(self.queue))

    def start(self) -> None:
        self._thread.start()

    @property
    def taking(self) -> bool:
        """Whether it takes jobs."""
        return not self.queue.closed

    def drain(self) -> None:
        """Take no more jobs, and finish those that are here."""
        self.queue.close()

    def halt(self) -> None:
        """Stop now: what is being computed is answered as it stands, what waits is refused."""
        self._halted = True
        self.queue.close()
        self.queue.drop(stopping())

    def join(self, seconds: float) -> None:
        """Wait for the thread to end."""
        if self._thread.ident is not None:  # it was started
            self._thread.join(seconds)

    def _work(self) -> None:
        while self.queue.wait():
            if self.limits.linger:
                time.sleep(self.limits.linger)
            while jobs := self.queue.take(self.limits.batch):
                self._compute([job for job in jobs if not job.left])

    def _compute(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        self.metrics.batch.observe(len(jobs))
        try:
            self._together(jobs)
        except Exception as error:
            if len(jobs) == 1:
                log.debug("a job failed", exc_info=error)
                jobs[0].finish(error)
                return
            # one of them failed: the others must not fail with it
            for job in jobs:
                self._compute([job])

    def _together(self, jobs: list[Job]) -> None:
        first = jobs[0]
        generation = Generation(
            first.model.edge,
            [job.turns for job in jobs],
            first.request,
            seeds=[job.seed for job in jobs],
        )
        latest: dict[int, Step] = {}
        began = time.perf_counter()
        with contextlib.closing(generation.all_watched()) as steps:
            for request, step in steps:
                job, latest[request] = jobs[request], step
                if step.record is None:
                    if request == 0:  # who has an answer may already ask what it took
                        self.metrics.computed(first.request.kind, len(jobs), generation, began)
                    job.finish(step.answer.decoded())
                elif job.watched and not job.left:
                    job.show(step)
                if self._halted and len(latest) == len(jobs) and step.record is not None:
                    self._as_they_stand(jobs, latest)
                    return
                if all(job.left for job in jobs):
                    self.metrics.cancelled.inc(len(jobs))
                    return

    def _as_they_stand(self, jobs: list[Job], latest: dict[int, Step]) -> None:
        for request, job in enumerate(jobs):
            job.finish(latest[request].answer.decoded(), partial=True)
