"""Whether the container does what it is there for. Exit code 0 if so; the reason is printed.

- A node: its router answers, and of the models that are wanted at least one can be asked. A node
  that nothing is wanted of is well.
- A quick run: its engine generates.
- Any other command serves nothing that could be ill.

A client that has to know about one model asks the router's /health itself.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

NOTE = Path(tempfile.gettempdir(), "tslc-container.json")
SECONDS = 20.0
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def look(note: Path, home: Path) -> tuple[bool, str]:
    """Whether it is well, and the reason."""
    try:
        about = json.loads(note.read_text())
        if "node" in about:
            return node(home / "nodes" / about["node"])
        if "port" in about:
            url = f"http://{reached(about['host'])}:{about['port']}/ready"
            status, said = ask(url)
            return status == 200, said
    except (OSError, ValueError, LookupError, TypeError) as error:
        return False, f"{type(error).__name__}: {error}"
    return True, "serves nothing"


def node(folder: Path) -> tuple[bool, str]:
    settings = json.loads((folder / "router" / "settings.json").read_text())
    scheme = "https" if settings["certificate"] else "http"
    status, said = ask(f"{scheme}://{reached(settings['host'])}:{settings['port']}/health")
    if status == 200:
        return True, said
    models = json.loads(said)
    return models["models"] == 0 or len(models["not_ready"]) < models["models"], said


def reached(host: str) -> str:
    """The address by which the container itself reaches what listens there."""
    host = LOOPBACK.get(host, host)
    return f"[{host}]" if ":" in host else host


def ask(url: str) -> tuple[int, str]:
    # The certificate is for the name that clients use, and never for this address.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(url, timeout=SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def main() -> int:
    well, reason = look(NOTE, Path(os.environ.get("TSLC_HOME", "/data")))
    print(reason)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
