"""What an error quotes of a program's log."""

from __future__ import annotations

from pathlib import Path

from tslc.adapters.node_folder import last_lines

JAVA = """\
WARNING: Restricted methods will be blocked in a future release

java.io.IOException: Failed to bind to address: http://127.0.0.1:24843
\tat org.pytorch.serve.ModelServer.initializeServer(ModelServer.java:354)
\tat java.base/java.lang.Thread.run(Unknown Source)
\tat io.netty.util.internal.PlatformDependent0$3.<init>(PlatformDependent0.java:1)
\t... 3 more
Caused by: io.netty.channel.unix.Errors$NativeIoException: Address already in use
    at the end
"""


def test_the_frames_of_a_stack_trace_say_nothing(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text(JAVA)
    assert last_lines(log, 3) == (
        "java.io.IOException: Failed to bind to address: http://127.0.0.1:24843",
        "Caused by: io.netty.channel.unix.Errors$NativeIoException: Address already in use",
        "    at the end",
    )


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none.log", 3) == ()
