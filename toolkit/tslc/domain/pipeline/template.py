"""The template and the buildspecs, filled in from the settings: what has to vary, and no more.

What CloudFormation itself can decide (parameters, conditions) stays in the template. Buildspecs are
put into it as they are: the projects run what the template says, whatever a commit says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from tslc.domain.settings_model import Settings
from tslc.domain.settings_pipeline import PipelineSettings
from tslc.domain.settings_values import BucketUrl
from tslc.errors import BadInput

TEMPLATE = "template.yaml"
_PLACE = re.compile(r"@@([a-z_]+)@@")
_BUILDSPEC = re.compile(r"^( *)BuildSpec: @@buildspec:([a-z]+)@@$", re.MULTILINE)


def render(template: str, buildspecs: Mapping[str, str], settings: Settings) -> str:
    """The template filled in; `buildspecs` by name. Raises BadInput where tslc.yaml says too
    little."""
    values = _values(settings)
    filled = _PLACE.sub(lambda match: json.dumps(values[match[1]]), template)

    def whole(match: re.Match[str]) -> str:
        indent = match[1]
        lines = buildspecs[match[2]].rstrip("\n").split("\n")
        body = "\n".join(f"{indent}  {line}".rstrip() for line in lines)
        return f"{indent}BuildSpec: |\n{body}"

    return _BUILDSPEC.sub(whole, filled)


def _values(settings: Settings) -> dict[str, str]:
    """By the name of their place in the template."""
    pipeline, store = _pipeline(settings), settings.store
    if not isinstance(store.url, BucketUrl):
        hint = "write store: {url: s3://bucket/prefix} into tslc.yaml"
        raise BadInput("a pipeline on AWS can't reach the local store", hint=hint)
    key = store.encryption.key_id or ""
    if key and not key.startswith("arn:"):
        hint = "write its ARN: policies name keys by it"
        raise BadInput(f"store.encryption.key_id is {key!r}, not an ARN", hint=hint)
    return {
        **{name: str(value) for name, value in vars(pipeline).items()},
        "test_on_cpu": "true" if pipeline.test_on_cpu else "false",
        "store_bucket": store.url.bucket,
        "store_prefix": f"{store.url.prefix}/" if store.url.prefix else "",
        "store_key": key,
    }


def _pipeline(settings: Settings) -> PipelineSettings:
    if settings.pipeline is None:
        hint = "write a section pipeline: (docs/pipeline.md)"
        raise BadInput("tslc.yaml has no section pipeline:", hint=hint)
    return settings.pipeline
