"""What holds for all tests."""

from __future__ import annotations

import signal

# A shell that starts the tests in the background has them ignore Ctrl-C, and every command they
# start inherits that; some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)
