"""The files TorchServe is run with."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from tslc.domain.node import NODE_MARK, NodeSettings, Ports, node_paths
from tslc.domain.node_files import (
    CREDENTIALS,
    render_config,
    render_log_config,
    render_metrics_config,
    server_environment,
)

PATHS = node_paths(Path("/srv/tslc"), "default")


def read_properties(text: str) -> dict[str, str]:
    """As java.util.Properties reads one-line properties."""
    lines = (line.split("=", 1) for line in text.splitlines())
    return {key: value.encode("latin-1").decode("unicode_escape") for key, value in lines}


def test_every_address_is_on_loopback() -> None:
    config = read_properties(render_config(NodeSettings(ports=Ports(inference=9)), PATHS))
    addresses = {key: value for key, value in config.items() if key.endswith("address")}
    assert len(addresses) == 5
    assert all(
        value.removeprefix("http://").startswith("127.0.0.1") for value in addresses.values()
    )
    assert config["inference_address"] == "http://127.0.0.1:9"


def test_tokens_are_on_and_the_environment_can_change_nothing() -> None:
    config = read_properties(render_config(NodeSettings(token_minutes=0.5), PATHS))
    assert config["disable_token_authorization"] == "false"
    assert config["enable_envvars_config"] == "false"
    assert config["token_expiration_min"] == "0.5"
    assert config["load_models"] == ""
    assert config["install_py_dep_per_model"] == "false"


@pytest.mark.parametrize("folder", ["/srv/tslc", "/a.b,c+(d)", "/blank here", "/größe/模型"])
def test_only_urls_of_the_model_store_are_allowed(folder: str) -> None:
    paths = node_paths(Path(folder), "default")
    config = read_properties(render_config(NodeSettings(), paths))
    assert config["model_store"] == str(paths.model_store)
    assert "," not in config["allowed_urls"]  # TorchServe would take it for two
    pattern = re.compile(
        re.sub(
            r"\\x\{([0-9a-f]+)\}", lambda m: re.escape(chr(int(m[1], 16))), config["allowed_urls"]
        )
    )
    assert pattern.fullmatch(f"file://{paths.model_store}/m-1.mar")
    for other in ("https://example.com/m.mar", "file:///etc/passwd", "file:///srvXtslc/m.mar"):
        assert not pattern.fullmatch(other)
    assert not pattern.fullmatch(f"file://{paths.model_store}/../../../etc/passwd")


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "DB_PASSWORD", "my_secret", "GITHUB_TOKEN"]
)
def test_credentials_never_reach_a_worker(name: str) -> None:
    assert re.fullmatch(CREDENTIALS, name)


@pytest.mark.parametrize("name", ["PATH", "HOME", "HF_TOKEN", "HF_HOME", "TSLC_RUN_DIR", "TOKENS"])
def test_what_a_worker_needs_reaches_it(name: str) -> None:
    assert not re.fullmatch(CREDENTIALS, name)


def test_the_log_configuration_keeps_the_threads_of_workers_and_drops_their_noise() -> None:
    root = ElementTree.fromstring(render_log_config(node_paths(Path("/a&b<c"), "n")))
    files = {one.get("name"): one for one in root.iter("RollingFile")}
    assert files["workers"].get("fileName") == "/a&b<c/nodes/n/logs/model_log.log"
    assert "%t" in str(files["workers"].find("PatternLayout").get("pattern"))  # type: ignore[union-attr]
    noise = re.compile(str(next(root.iter("RegexFilter")).get("regex")))
    assert noise.fullmatch("self._entry_point=<bound method VLLMHandler.handle>")
    assert not noise.fullmatch("Backend worker process died.")


def test_metrics_that_the_handler_emits_are_known_with_their_kinds() -> None:
    known = yaml.safe_load(render_metrics_config())["model_metrics"]
    names = {kind: {one["name"] for one in metrics} for kind, metrics in known.items()}
    assert names["counter"] == {"TokensIn", "TokensOut"}
    assert {"HandlerTime", "TimeToFirstToken"} <= names["gauge"]


def test_the_server_keeps_to_its_own_folders_and_code() -> None:
    outside = {
        "PATH": "/bin",
        "TS_CONFIG_FILE": "/other",
        "PYTHONPATH": "/other/code",
        "LOG_LOCATION": "/var/log",
        "TMPDIR": "/tmp",
        "JAVA_HOME": "/old",
    }
    env = server_environment(outside, PATHS, Path("/java"))
    assert env["PATH"] == "/bin"
    assert env["JAVA_HOME"] == "/java"
    assert env["TEMP"] == env["TMPDIR"] == str(PATHS.tmp)
    assert env["TSLC_RUN_DIR"] == str(PATHS.run)
    assert env[NODE_MARK] == PATHS.mark
    assert env["TSLC_WEIGHTS_DIR"] == str(PATHS.weights)
    assert not {"TS_CONFIG_FILE", "PYTHONPATH"} & env.keys()
    assert env["LOG_LOCATION"] == str(PATHS.logs)
