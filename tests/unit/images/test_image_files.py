"""What docker/ says of images, containers and their surroundings fits together."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tslc.domain.node import Ports
from tslc.domain.settings import VARIABLES

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
SECRETS = re.compile(r"SECRET|PASSWORD|TOKEN|KEY")


def read(name: str) -> Any:
    return yaml.safe_load((DOCKER / name).read_text())


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(read("compose.yaml")["services"])


def stages() -> dict[str, str]:
    """The text of each stage of the Dockerfile, by its name."""
    parts = re.split(r"^FROM \S+ AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_base_is_pinned_by_digest_and_the_only_one() -> None:
    base = re.search(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert base and DIGEST.search(base[1])
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {
        "${BASE}",
        "build",
        "node",
    }


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_an_image_ends_as_a_user_without_rights_and_has_its_own_packages(target: str) -> None:
    stage = stages()[target]
    assert re.findall(r"^USER (\S+)$", stage, re.MULTILINE) == ["10001:10001"]
    assert f"COPY --from=packages-{target} " in stage
    assert f"--from=lists /lists/{target}.txt" in stages()[f"packages-{target}"]


def test_all_that_is_copied_into_an_image_is_let_through_and_exists() -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        copied.update(line.split()[:-1])
    assert copied == allowed
    assert all((ROOT / path).exists() for path in copied)


def test_images_that_are_not_ours_are_pinned_by_digest(services: dict[str, Any]) -> None:
    others = {
        name: one["image"] for name, one in services.items() if "TSLC_IMAGE" not in one["image"]
    }
    assert set(others) == {"prometheus", "grafana"}
    assert all(DIGEST.search(image) for image in others.values())


def test_every_container_is_read_only_without_rights_and_watched(services: dict[str, Any]) -> None:
    for name, one in services.items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        # That of a node is the image's.
        assert "healthcheck" in one or name in ("node", "bucket"), name


def test_ports_are_the_machines_own(services: dict[str, Any]) -> None:
    ports = [port for one in services.values() for port in one.get("ports", ())]
    assert f"127.0.0.1:{Ports.router}:{Ports.router}" in ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_secrets_come_from_outside(services: dict[str, Any]) -> None:
    named = [
        (name, value)
        for one in services.values()
        for name, value in one.get("environment", {}).items()
        if SECRETS.search(name)
    ]
    assert {name for name, _ in named} >= {"AWS_SECRET_ACCESS_KEY", "GF_SECURITY_ADMIN_PASSWORD"}
    assert all(re.match(r"\$\{\w+:[?-]", value) for _, value in named)


def test_files_that_are_mounted_exist(services: dict[str, Any]) -> None:
    volumes = read("compose.yaml")["volumes"]
    for one in services.values():
        for mounted in one.get("volumes", ()):
            source = mounted.split(":")[0]
            assert (DOCKER / source).is_file() if source.startswith(".") else source in volumes


def test_the_node_finds_its_store(services: dict[str, Any]) -> None:
    said = services["node"]["environment"]
    assert {name for name in said if name.startswith("TSLC_")} <= set(VARIABLES.values())
    port = said["TSLC_STORE_ENDPOINT_URL"].rsplit(":", 1)[1]
    assert f"-s3.port={port}" in services["store"]["command"]
    (bucket,) = services["bucket"]["command"]
    assert f'Bucket="{said["TSLC_STORE_URL"].removeprefix("s3://")}"' in bucket
    assert said["TSLC_STORE_ENDPOINT_URL"] in bucket
    compile(bucket, "bucket", "exec")


def test_prometheus_reads_the_nodes_metrics_and_the_alerts(services: dict[str, Any]) -> None:
    about = read("prometheus.yaml")
    (job,) = about["scrape_configs"]
    # The alert on nodes that are away names the job.
    assert job["job_name"] == "tslc"
    assert job["static_configs"][0]["targets"] == [f"127.0.0.1:{Ports.node_metrics}"]
    # The node's own 127.0.0.1.
    assert services["prometheus"]["network_mode"] == "service:node"
    mounted = {one.split(":")[1]: one.split(":")[0] for one in services["prometheus"]["volumes"]}
    assert set(about["rule_files"]) <= mounted.keys()
    assert "--config.file=/etc/prometheus/prometheus.yaml" in services["prometheus"]["command"]
    assert mounted["/etc/prometheus/prometheus.yaml"] == "./prometheus.yaml"


def test_grafana_shows_the_dashboard_from_that_prometheus(services: dict[str, Any]) -> None:
    (source,) = read("grafana/datasource.yaml")["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    published = [port.split(":")[1] for port in services["node"]["ports"]]
    assert source["url"].removeprefix("http://node:") in published
    (provider,) = read("grafana/dashboards.yaml")["providers"]
    folders = {str(Path(one.split(":")[1]).parent) for one in services["grafana"]["volumes"]}
    assert provider["options"]["path"] in folders
    asked = json.loads((ROOT / "deploy" / "grafana" / "tslc.json").read_text())
    (variable,) = [one for one in asked["templating"]["list"] if one["name"] == "datasource"]
    assert variable["query"] == source["type"]
