"""`tslc pipeline worker`: looks for jobs, works on some at once, looks after those that were left.

It keeps nothing: what must not be lost lies in the store, so it may be killed at any time.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue

from tslc.domain.pipeline.record import Next, Stage
from tslc.errors import BadInput, TslcError
from tslc.verbs.pipeline.job import Bench, Taken, claim, settle, take, work

_NOTING_SECONDS = 5.0


class Worker:
    """`run` returns after `stop`, when every job that was begun has been told of."""

    def __init__(self, bench: Bench) -> None:
        self._stopped = False
        self._bench = replace(bench, stopping=lambda: self._stopped)
        self._wish = bench.wish
        self._running: dict[str, Future[None]] = {}
        self._calls: SimpleQueue[None] = SimpleQueue()
        self._looked_at = float("-inf")
        self._trouble = ""

    def stop(self) -> None:
        """From another thread, or a signal's handler: nothing in here waits for a lock."""
        self._stopped = True
        self._calls.put(None)

    def run(self) -> None:
        """Raises what a job raises that is no TslcError: that is a bug. BadInput when CodePipeline
        can't be asked at all."""
        with ThreadPoolExecutor(self._wish.jobs) as pool:
            while not self._stopped:
                self._collect()
                self._round(pool)
                with suppress(Empty):
                    self._calls.get(timeout=self._wish.poll_seconds)
        self._collect()

    def _round(self, pool: ThreadPoolExecutor) -> None:
        try:
            self._look_after(pool)
            if free := self._wish.jobs - len(self._running):
                self._poll(pool, free)
            self._said("")
        except BadInput:
            raise
        except TslcError as error:
            self._said(error.message)

    def _poll(self, pool: ThreadPoolExecutor, free: int) -> None:
        bench = self._bench
        for job in bench.codepipeline.poll(self._wish.action, self._wish.environment, free):
            if not self._is_free(job.configuration.get("Model", "")):
                bench.say(f"job {job.id} is of a model that is being worked on: left alone")
                continue
            try:
                taken = take(bench, job)
            except TslcError as error:
                # It comes again; the others of this poll need not wait for that.
                bench.say(f"job {job.id}: left alone: {error.message}")
                continue
            if taken is not None:
                self._begin(pool, taken)

    def _is_free(self, model: str) -> bool:
        """Whether nobody here works on the model. Who has told of a job may still be noting it,
        when the next one is there already."""
        if model in self._running:
            wait([self._running[model]], _NOTING_SECONDS)
            self._collect()
        return model not in self._running

    def _begin(self, pool: ThreadPoolExecutor, taken: Taken) -> None:
        begun = pool.submit(work, self._bench, taken)
        self._running[taken.action.model] = begun
        begun.add_done_callback(lambda _: self._calls.put(None))

    def _look_after(self, pool: ThreadPoolExecutor) -> None:
        """Jobs that nobody works on, and releases whose pipelines go on no more."""
        if time.monotonic() - self._looked_at < self._wish.orphaned_after / 4:
            return
        for model in list(self._bench.records.models()):
            if model not in self._running and len(self._running) < self._wish.jobs:
                self._look_at(pool, model)
        self._looked_at = time.monotonic()

    def _look_at(self, pool: ThreadPoolExecutor, model: str) -> None:
        bench = self._bench
        try:
            note = bench.records.read(model)
            old = note is not None and note.age > self._wish.orphaned_after
            if note is None or not old or note.record.stage is Stage.ENDED:
                return
            if settle(bench, model, note) is Next.TAKE_UP and (taken := claim(bench, model, note)):
                self._begin(pool, taken)
        except TslcError as error:
            bench.say(f"the job of {model} can't be looked after: {error.message}")

    def _collect(self) -> None:
        """Jobs that have ended; raises what they raised."""
        for model, one in list(self._running.items()):
            if one.done():
                del self._running[model]
                one.result()

    def _said(self, trouble: str) -> None:
        """A trouble is told once, and when it is over."""
        if trouble != self._trouble:
            self._bench.say(trouble or "CodePipeline and the store answer again")
        self._trouble = trouble
