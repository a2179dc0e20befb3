"""The template and the buildspecs that travel with tslc."""

from __future__ import annotations

from importlib.resources import files

from tslc.domain.pipeline.template import TEMPLATE

BUILDSPECS = "buildspecs"


def template() -> str:
    return (files("tslc.adapters") / "pipeline_files" / TEMPLATE).read_text(encoding="utf-8")


def buildspecs() -> dict[str, str]:
    """Their text by name, `build` for build.yml."""
    folder = files("tslc.adapters") / "pipeline_files" / BUILDSPECS
    return {
        one.name.removesuffix(".yml"): one.read_text(encoding="utf-8")
        for one in sorted(folder.iterdir(), key=lambda one: one.name)
        if one.name.endswith(".yml")
    }
