"""The jobs that run beside the agent's loop, and what becomes of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue

from tslc.adapters.agent_folder import KeptRecord
from tslc.domain.release.actual import Failure, Job, VersionSeen
from tslc.domain.release.plan import backoff, pause_after
from tslc.domain.router.table import UpstreamName
from tslc.errors import TslcError
from tslc.verbs.agent.jobs import Done, Jobs

# TorchServe may be about to start a worker that nobody has seen yet.
_FIRST_LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class _Outcome:
    job: Job
    name: UpstreamName
    done: Done | None = None
    failure: str = ""
    bug: BaseException | None = None


@dataclass
class RunningJobs:
    """Only the loop's thread calls it. `begun`: at most one job of a version at a time; `failures`:
    why the last job of a version failed, and until when it rests; `grace`: until when (by `clock`,
    in seconds) a version that does not serve is waited for. `woken` is called from the jobs'
    threads; `ended` is told each job and whether it failed."""

    jobs: Jobs
    kept: KeptRecord
    clock: Callable[[], float]
    say: Callable[[str], None]
    woken: Callable[[], None]
    ended: Callable[[Job, bool], None]
    begun: dict[UpstreamName, Job] = field(default_factory=dict)
    failures: dict[UpstreamName, Failure] = field(default_factory=dict)
    grace: dict[UpstreamName, float] = field(default_factory=dict)
    _heals: dict[UpstreamName, int] = field(default_factory=dict)
    _outcomes: SimpleQueue[_Outcome] = field(default_factory=SimpleQueue)
    _young: set[int] = field(default_factory=set)

    def start(self, job: Job, name: UpstreamName) -> None:
        self.begun[name] = job
        self.say(f"{name.model} {name.version}: {job.value}")
        if job is Job.HEAL:
            self._heals[name] = self._heals.get(name, 0) + 1
        threading.Thread(target=self._run, args=(job, name), daemon=True).start()

    def _run(self, job: Job, name: UpstreamName) -> None:
        managed = name in self.kept.record.managed
        try:
            outcome = _Outcome(job, name, self.jobs.run(job, name, managed=managed))
        except TslcError as error:
            outcome = _Outcome(job, name, failure=error.message)
        except BaseException as bug:  # noqa: BLE001 - raised again where the agent ends by it
            outcome = _Outcome(job, name, bug=bug)
        self._outcomes.put(outcome)
        self.woken()

    def take_outcomes(self) -> bool:
        """Whether a job has ended since the last time; raises what was a bug of it."""
        ended = False
        while not self._outcomes.empty():
            self._take(self._outcomes.get())
            ended = True
        return ended

    def _take(self, outcome: _Outcome) -> None:
        if outcome.bug is not None:
            raise outcome.bug
        name, job = outcome.name, outcome.job
        self.ended(job, outcome.done is None)
        self.begun.pop(name, None)
        if outcome.done is None:
            earlier = self.failures.get(name)
            self.failures[name] = backoff(earlier, job, outcome.failure, self.clock())
            self.say(f"{name.model} {name.version}: {job.value} failed: {outcome.failure}")
        else:
            self.failures.pop(name, None)
            self._take_done(name, outcome.done)

    def _take_done(self, name: UpstreamName, done: Done) -> None:
        if done.unloaded:
            self.grace.pop(name, None)
            self.kept.keep(self.kept.record.without(name))
            return
        record = self.kept.record.with_proven(done.proven)
        self.kept.keep(record.with_managed(name) if done.managed else record)
        if done.grace:
            # The first restart is at once; one that did not help is waited for longer.
            in_vain = max(0, self._heals.get(name, 1) - 1)
            self.grace[name] = self.clock() + done.grace + pause_after(in_vain)

    def heed(self, versions: Mapping[UpstreamName, VersionSeen], now: float) -> None:
        """What serves has nothing to be waited for; what does not may be loading."""
        for name, one in versions.items():
            if one.serving:
                self.grace.pop(name, None)
                self._heals.pop(name, None)
                self.failures.pop(name, None)
            else:
                self._let_be(name, one, now)

    def _let_be(self, name: UpstreamName, one: VersionSeen, now: float) -> None:
        """A version that does not serve is waited for while a new worker of it loads, whoever
        started that; of one nobody has seen before it is not known yet."""
        new = {worker.pid for worker in one.workers if not worker.proven} - self._young
        if new:
            self._young |= new
            self.grace[name] = max(self.grace.get(name, 0.0), now + self.jobs.deadline(name))
        elif name not in self.grace and not self._was_proven(name):
            self.grace[name] = now + _FIRST_LOOK_SECONDS

    def _was_proven(self, name: UpstreamName) -> bool:
        """Whether a worker of it served before: then a missing one is dead, not late."""
        gone = f"{name.model}@{name.version}@"
        return any(key.startswith(gone) for key in self.kept.record.proven)
