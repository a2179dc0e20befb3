"""A worker's own error, out of TorchServe's log of all workers."""

from __future__ import annotations

from tslc.domain.registration import load_failed
from tslc.domain.worker_log import (
    has_said_all,
    lines_of,
    server_saw_death,
    worker_died,
    worker_error,
)

UNPACKED = "/n/tmp/models/0123456789abcdef0123456789abcdef"


def log(*texts: str, worker: str = "W-9000-m_1.0", stream: str = "stdout") -> list[str]:
    head = f"2026-01-31T12:00:00,000 [INFO ] {worker}-{stream} MODEL_LOG - "
    return [head + text for text in texts]


def error_of(lines: list[str]) -> str:
    return str(worker_error(lines_of(lines, "m", "1.0")))


DIED = log(
    "Backend worker process died.",
    "Traceback (most recent call last):",
    '  File "/v/site-packages/ts/model_service_worker.py", line 301, in <module>',
    "    worker.run_server()",
    "    ^^^^^^^^^^^^^^^^^^^",
    '  File "/v/site-packages/ts/model_loader.py", line 143, in load',
    "    initialize_fn(service.context)",
    f'  File "{UNPACKED}/tslc_handler.py", line 12, in initialize',
    '    raise ValueError("no such adapter")',
    "ValueError: no such adapter",
)
ENGINE = (
    "Traceback (most recent call last):",
    '  File "/v/lib/python3.11/site-packages/vllm/v1/core.py", line 7, in run',
    "    check()",
    "ValueError: the KV cache is larger than the memory",
)


def test_the_workers_exception_is_shown_with_the_archives_frame() -> None:
    assert error_of(DIED) == (
        "ValueError: no such adapter\n"
        '    at tslc_handler.py:12 in initialize: raise ValueError("no such adapter")'
    )


def test_the_wrapper_torchserve_raises_is_not_the_reason() -> None:
    lines = log(
        "Failed to load model m, exception boom",
        "Traceback (most recent call last):",
        f'  File "{UNPACKED}/h.py", line 3, in initialize',
        "RuntimeError: boom",
        "Backend worker process died.",
        "Traceback (most recent call last):",
        '  File "/v/site-packages/ts/model_service_worker.py", line 301, in <module>',
        "RuntimeError: 500 - Unknown exception",
    )
    assert error_of(lines).startswith("RuntimeError: boom\n")


def test_a_missing_import_is_named_not_the_default_handler_torchserve_tries_next() -> None:
    lines = log(
        "Traceback (most recent call last):",
        f'  File "{UNPACKED}/h.py", line 1, in <module>',
        "    import lancedb",
        "ModuleNotFoundError: No module named 'lancedb'",
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        "Traceback (most recent call last):",
        '  File "/v/site-packages/ts/model_loader.py", line 150, in _load_default_handler',
        "ModuleNotFoundError: No module named 'ts.torch_handler.h'",
    )
    assert error_of(lines).startswith("ModuleNotFoundError: No module named 'lancedb'")


def test_the_engines_error_is_found_among_the_lines_of_its_parent() -> None:
    prefix = "(EngineCore pid=7) ERROR 01-31 12:00:00 [core.py:1] "
    engine = log(*(prefix + line for line in ENGINE), stream="stderr")
    engine += log(
        prefix + "Traceback (most recent call last):",
        prefix + "RuntimeError: Worker failed with error 'the KV cache is larger'",
        stream="stderr",
    )
    parent = log(
        "Traceback (most recent call last):",
        '  File "/v/lib/python3.11/site-packages/vllm/v1/utils.py", line 9, in wait',
        "RuntimeError: Engine core initialization failed. See root cause above.",
    )
    mixed = [line for pair in zip(engine, parent * 2, strict=True) for line in pair]
    assert error_of(mixed) == (
        "ValueError: the KV cache is larger than the memory\n"
        "    at vllm/v1/core.py:7 in run: check()"
    )


def test_a_message_of_several_lines_is_kept() -> None:
    lines = log(
        "Traceback (most recent call last):",
        '  File "/v/lib/python3.11/site-packages/vllm/config.py", line 9, in check',
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
        "  Value error, no such model [type=value_error]",
        "after",
    )
    assert "ModelConfig\n  Value error, no such model [type=value_error]\n" in error_of(lines)
    assert "after" not in error_of(lines)


def test_lines_of_other_versions_are_not_this_ones() -> None:
    others = [
        *log("x", worker="W-9000-m_1.0.1"),
        *log("x", worker="W-9000-mm_1.0"),
        *log("x", worker="W-9000-m_1x0"),
    ]
    assert lines_of(others, "m", "1.0") == ()


def test_a_death_is_seen_in_the_workers_log_and_in_torchserves() -> None:
    assert worker_died(lines_of(DIED, "m", "1.0"))
    assert not worker_died(lines_of(log("Torch worker started."), "m", "1.0"))
    said = ["2026-01-31T12:00:00,000 [ERROR] W-9000-m_1.0 o.p.s.W - Backend worker error"]
    assert server_saw_death(said, "m", "1.0")
    assert not server_saw_death(said, "m", "1.1")


def test_a_worker_has_said_all_when_both_its_streams_were_read_to_their_ends() -> None:
    def ended(thread: str) -> str:
        head = f"2026-01-31T12:00:00,000 [INFO ] {thread} org.pytorch.serve.wlm.WorkerLifeCycle"
        return f"{head} - Stopped Scanner - {thread}\n"

    out, err = ended("W-9000-m_1.0-stdout"), ended("W-9000-m_1.0-stderr")
    assert has_said_all([out, err], "m", "1.0")
    assert not has_said_all([out, out], "m", "1.0")
    assert not has_said_all([out, ended("W-9001-m_1.0-stderr")], "m", "1.0")
    assert not has_said_all([out, ended("W-9000-m_1.0.1-stderr")], "m", "1.0")


def test_a_worker_without_an_error_is_quoted() -> None:
    lines = lines_of(log("loading", "Killed"), "m", "1.0")
    assert load_failed("m", "1.0", lines).endswith("it said last\n    loading\n    Killed")
    assert "without a word" in load_failed("m", "1.0", ())
