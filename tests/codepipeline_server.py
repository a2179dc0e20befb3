"""A server that speaks CodePipeline's wire protocol to job workers, on loopback.

What comes in and what goes out is checked against the shapes of botocore's own service model, so
that neither the worker nor this server can drift from the real one unseen. It speaks JSON 1.1, and
RPC v2 CBOR, which the service model names as well.

What it holds of CodePipeline's rules: a job is given out by a poll with a nonce, belongs to who
acknowledges it with that nonce, and is given out again when nobody does; one that is told of with a
continuation token is followed by another job with that token; one that is not in progress takes no
answer. It also gives out the artifacts, to the job's own credentials alone.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import botocore.session
import cbor2
from botocore.model import Shape
from botocore.validate import ParamValidator

TARGET = "CodePipeline_20150709"
ACCOUNT = "111122223333"
PIPELINE = "support-bot"
SECRET_KEY = "artifact-secret-of-one-job"
SESSION_TOKEN = "artifact-session-of-one-job"
_MODEL = botocore.session.get_session().get_service_model("codepipeline")


class Refusal(Exception):
    """An error of CodePipeline's."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.message = message or code


@dataclass
class Job:
    """`status` in CodePipeline's words. `told`: the calls that ended it."""

    execution: str
    configuration: Mapping[str, str]
    token: str | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "Queued"
    nonce: str = ""
    given_at: float = 0.0
    told: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Pipeline:
    """What the server knows. `faults`: by operation, what happens to its next calls: `throttle`,
    `lost` (done, but the answer gets lost), `drop` (not done, no answer)."""

    redeliver_after: float = 1.0
    jobs: list[Job] = field(default_factory=list)
    executions: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    protocols: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def start(self, configuration: Mapping[str, str], artifact: bytes | None = None) -> Job:
        """An execution of the pipeline comes to our action."""
        with self.lock:
            job = Job(str(uuid.uuid4()), configuration)
            self.executions[job.execution] = "InProgress"
            if artifact is not None:
                self.artifacts[f"{PIPELINE}/Source/{job.execution[:7]}"] = artifact
            self.jobs.append(job)
            return job

    def stop(self, execution: str) -> None:
        """Stopped and abandoned by somebody: no job of it is in progress any more."""
        with self.lock:
            self.executions[execution] = "Stopped"
            for job in self.of(execution):
                if job.status not in ("Succeeded", "Failed"):
                    job.status = "Failed"

    def of(self, execution: str) -> list[Job]:
        return [job for job in self.jobs if job.execution == execution]

    def told(self, execution: str) -> list[dict[str, Any]]:
        """All that was told of an execution's jobs, in order."""
        return [one for job in self.of(execution) for one in job.told]

    def count(self, operation: str) -> int:
        return sum(name == operation for name, _ in self.calls)

    # The operations.

    def PollForJobs(self, asked: dict[str, Any]) -> dict[str, Any]:
        wanted = asked.get("queryParam", {})
        now = time.monotonic()
        given = []
        for job in self.jobs:
            forgotten = job.status == "Dispatched" and now - job.given_at > self.redeliver_after
            if job.status != "Queued" and not forgotten:
                continue
            if any(job.configuration.get(key) != value for key, value in wanted.items()):
                continue
            if len(given) == asked.get("maxBatchSize", 1):
                break
            job.status, job.given_at, job.nonce = "Dispatched", now, uuid.uuid4().hex
            about = {"id": job.id, "accountId": ACCOUNT, "nonce": job.nonce}
            given.append({**about, "data": self._data(job, asked["actionTypeId"])})
        return {"jobs": given}

    def AcknowledgeJob(self, asked: dict[str, Any]) -> dict[str, Any]:
        job = self._job(asked["jobId"])
        if job.nonce != asked["nonce"]:
            raise Refusal("InvalidNonceException")
        if job.status == "Dispatched":
            job.status = "InProgress"
        return {"status": job.status}

    def GetJobDetails(self, asked: dict[str, Any]) -> dict[str, Any]:
        job = self._job(asked["jobId"])
        kind = {"category": "Deploy", "owner": "Custom", "provider": "p", "version": "1"}
        about = {"id": job.id, "accountId": ACCOUNT}
        return {"jobDetails": {**about, "data": self._data(job, kind)}}

    def PutJobSuccessResult(self, asked: dict[str, Any]) -> None:
        job = self._in_progress(asked)
        job.status = "Succeeded"
        token = asked.get("continuationToken")
        if token is None:
            self.executions[job.execution] = "Succeeded"
            return
        if "outputVariables" in asked:
            raise Refusal("ValidationException", "outputVariables with a continuationToken")
        self.jobs.append(Job(job.execution, job.configuration, token))

    def PutJobFailureResult(self, asked: dict[str, Any]) -> None:
        job = self._in_progress(asked)
        job.status = "Failed"
        self.executions[job.execution] = "Failed"

    def GetPipelineExecution(self, asked: dict[str, Any]) -> dict[str, Any]:
        execution = asked["pipelineExecutionId"]
        if execution not in self.executions:
            raise Refusal("PipelineExecutionNotFoundException")
        about = {"pipelineName": PIPELINE, "pipelineVersion": 1, "pipelineExecutionId": execution}
        return {"pipelineExecution": {**about, "status": self.executions[execution]}}

    def _in_progress(self, asked: dict[str, Any]) -> Job:
        job = self._job(asked["jobId"])
        if job.status != "InProgress":
            raise Refusal("InvalidJobStateException")
        job.told.append(asked)
        return job

    def _job(self, wanted: str) -> Job:
        for job in self.jobs:
            if job.id == wanted:
                return job
        raise Refusal("JobNotFoundException")

    def _data(self, job: Job, kind: Mapping[str, str]) -> dict[str, Any]:
        data: dict[str, Any] = {
            "actionTypeId": kind,
            "actionConfiguration": {"configuration": dict(job.configuration)},
            "pipelineContext": {
                "pipelineName": PIPELINE,
                "stage": {"name": "Production"},
                "action": {"name": "Release", "actionExecutionId": job.execution},
                "pipelineArn": f"arn:aws:codepipeline:eu-central-1:{ACCOUNT}:{PIPELINE}",
                "pipelineExecutionId": job.execution,
            },
            "artifactCredentials": {
                "accessKeyId": f"KEY-OF-{job.id[:8]}",
                "secretAccessKey": SECRET_KEY,
                "sessionToken": SESSION_TOKEN,
            },
            "encryptionKey": {"id": "arn:aws:kms:eu-central-1:…:key/1", "type": "KMS"},
            "inputArtifacts": [],
            "outputArtifacts": [],
        }
        key = f"{PIPELINE}/Source/{job.execution[:7]}"
        if key in self.artifacts:
            place = {"bucketName": "artifacts", "objectKey": key}
            location = {"type": "S3", "s3Location": place}
            data["inputArtifacts"] = [{"name": "Source", "location": location}]
        if job.token is not None:
            data["continuationToken"] = job.token
        return data

    # The wire.

    def fault(self, operation: str) -> str | None:
        planned = self.faults.get(operation)
        return planned.pop(0) if planned else None

    def call(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Checks both ways; what is wrong with the worker's request is refused as AWS does."""
        model = _MODEL.operation_model(operation)
        wrong = problems(asked, model.input_shape)
        with self.lock:
            self.calls.append((operation, asked))
            if wrong:
                self.problems.append(f"{operation}: {wrong}")
                raise Refusal("ValidationException", "; ".join(wrong))
            answer = getattr(self, operation)(asked) or {}
        if model.output_shape is not None and (wrong := problems(answer, model.output_shape)):
            self.problems.append(f"the server's own answer to {operation}: {wrong}")
        return dict(answer)


def problems(value: Any, shape: Shape) -> list[str]:
    """What of a value its shape does not allow: botocore's own check, and what that leaves out."""
    report = ParamValidator().validate(value, shape)
    found = [report.generate_report()] if report.has_errors() else []
    return found + list(_finer(value, shape, shape.name))


def _finer(value: Any, shape: Shape, where: str) -> Iterator[str]:
    """Patterns, words, upper limits, unknown members."""
    match shape.type_name:
        case "structure":
            for key, one in value.items():
                if key not in shape.members:
                    yield f"{where}.{key}: unknown"
                else:
                    yield from _finer(one, shape.members[key], f"{where}.{key}")
        case "list":
            for one in value:
                yield from _finer(one, shape.member, f"{where}[]")
        case "map":
            for key, one in value.items():
                yield from _finer(key, shape.key, f"{where}.{key}")
                yield from _finer(one, shape.value, f"{where}.{key}")
        case "string":
            meta = shape.metadata
            if "pattern" in meta and not re.fullmatch(meta["pattern"], value):
                yield f"{where}: {value!r} is not like {meta['pattern']}"
            if "enum" in meta and value not in meta["enum"]:
                yield f"{where}: {value!r} is none of {meta['enum']}"
            if len(value) > meta.get("max", len(value)):
                yield f"{where}: {len(value)} characters are too many"
        case "integer":
            if value > shape.metadata.get("max", value):
                yield f"{where}: {value} is too much"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        operation, cbor = self._operation()
        pipeline = self.server.pipeline
        pipeline.protocols.add("cbor" if cbor else "json")
        asked = cbor2.loads(content) if cbor else json.loads(content)
        fault = pipeline.fault(operation)
        if fault == "drop":
            self._hang_up()
        elif fault == "throttle":
            self._answer(400, self._error(Refusal("ThrottlingException", "Rate exceeded")), cbor)
        else:
            try:
                status, said = 200, pipeline.call(operation, asked)
            except Refusal as refusal:
                status, said = 400, self._error(refusal)
            if fault == "lost":
                self._hang_up()
            else:
                self._answer(status, said, cbor)

    def _operation(self) -> tuple[str, bool]:
        if target := self.headers.get("X-Amz-Target"):
            assert target.startswith(f"{TARGET}."), target
            assert self.headers["Content-Type"] == "application/x-amz-json-1.1"
            return target.removeprefix(f"{TARGET}."), False
        assert self.headers["smithy-protocol"] == "rpc-v2-cbor"
        match = re.fullmatch(rf"/service/{TARGET}/operation/(\w+)", self.path)
        assert match, self.path
        return match[1], True

    def _error(self, refusal: Refusal) -> dict[str, Any]:
        return {"__type": refusal.code, "message": refusal.message}

    def _answer(self, status: int, said: dict[str, Any], cbor: bool) -> None:
        content = cbor2.dumps(said) if cbor else json.dumps(said).encode()
        self.send_response(status)
        kind = "application/cbor" if cbor else "application/x-amz-json-1.1"
        self.send_header("Content-Type", kind)
        if cbor:
            self.send_header("smithy-protocol", "rpc-v2-cbor")
        self._end(content)

    def do_GET(self) -> None:
        """An artifact: S3's GetObject, for the credentials of a job."""
        known = re.search(r"Credential=KEY-OF-", self.headers.get("Authorization", ""))
        if not known or self.headers.get("X-Amz-Security-Token") != SESSION_TOKEN:
            self.send_response(403)
            self._end(b"<Error><Code>AccessDenied</Code></Error>")
            return
        content = self.server.pipeline.artifacts.get(self.path.removeprefix("/artifacts/"))
        self.send_response(200 if content is not None else 404)
        self._end(content if content is not None else b"<Error><Code>NoSuchKey</Code></Error>")

    def _end(self, content: bytes) -> None:
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _hang_up(self) -> None:
        self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    pipeline: Pipeline

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A worker that is killed leaves its connection; anything else is to be seen."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@dataclass(frozen=True)
class Running:
    url: str
    pipeline: Pipeline


@contextmanager
def codepipeline() -> Iterator[Running]:
    """Running until the block ends. Afterwards every request and answer was as it has to be."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.pipeline = Pipeline()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Running(f"http://127.0.0.1:{server.server_port}", server.pipeline)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
    assert server.pipeline.problems == []
