"""The section `pipeline:` of tslc.yaml: what `tslc pipeline render` puts into the template.

It stands in the file alone: there is no variable and no flag for what a pipeline is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tslc.domain.archive_name import model_name_problem
from tslc.domain.settings_values import WrongValue, read_endpoint, read_environment, read_flag
from tslc.errors import Mistake

SECTION = "pipeline"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_PATH = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+")
_BRANCH = re.compile(r"[A-Za-z0-9_./-]{1,255}")
_CONNECTION = re.compile(
    r"arn:aws[a-z-]*:(codeconnections|codestar-connections):[a-z0-9-]+:[0-9]{12}:connection/[\w-]+"
)
_KMS_KEY = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[\w-]+")
_SECRET = re.compile(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[\w/+=.@-]+")
_MAIL = re.compile(r"[^\s@'\"]+@[^\s@'\"]+")
_INSTALL = re.compile(r"[A-Za-z0-9_.,=<>!~\[\]/:@+#& -]{1,500}")
# CodePipeline gives jobs out by this value, and takes no other for that.
_QUERYABLE = re.compile(r"[A-Za-z0-9_-]{1,20}")


@dataclass(frozen=True)
class PipelineSettings:
    """`spec`, `plan`: paths in the repository. `install`: what pip is asked to install.
    `test_on_cpu`: load what was built on a CPU before it is pushed. `router`: where staging is
    asked, with the API key in `api_key_secret`, if it wants one. `notify`: a mail address."""

    model: str
    spec: str
    plan: str
    repository: str
    connection: str
    signing_key: str
    install: str
    router: str
    name: str
    branch: str = "main"
    staging: str = "staging"
    production: str = "production"
    api_key_secret: str = ""
    notify: str = ""
    test_on_cpu: bool = False


def _like(pattern: re.Pattern[str], kind: str, example: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            shown = repr(value) if isinstance(value, str) and len(value) < 60 else "this"
            raise WrongValue(f"{shown} is not {kind}", f"such as {example}")
        return value

    return read


def _read_model(value: object) -> str:
    if not isinstance(value, str) or model_name_problem(value):
        raise WrongValue("not a model's name", "such as support-bot")
    return value


def _read_path(value: object) -> str:
    text = _like(_PATH, "a path in the repository", "archives/support-bot")(value)
    if ".." in text.split("/"):
        raise WrongValue(f"{text!r} leads out of the repository", "a path below its root")
    return text


def _read_production(value: object) -> str:
    text = read_environment(value)
    if not _QUERYABLE.fullmatch(text):
        problem = f"{text!r} is no environment that CodePipeline can give jobs out by"
        raise WrongValue(problem, "at most 20 letters, digits, '_' and '-'")
    return text


READERS: Mapping[str, Callable[[object], object]] = {
    "name": _like(_NAME, "a pipeline's name", "support-bot-release"),
    "model": _read_model,
    "spec": _read_path,
    "plan": _read_path,
    "repository": _like(_REPOSITORY, "a repository", "acme/models"),
    "branch": _like(_BRANCH, "a branch", "main"),
    "connection": _like(
        _CONNECTION,
        "the ARN of a connection",
        "arn:aws:codeconnections:REGION:ACCOUNT:connection/ID",
    ),
    "signing_key": _like(_KMS_KEY, "the ARN of a KMS key", "arn:aws:kms:REGION:ACCOUNT:key/ID"),
    "install": _like(_INSTALL, "something pip can install", "tslc==0.1.0"),
    "router": read_endpoint,
    "staging": read_environment,
    "production": _read_production,
    "api_key_secret": _like(
        _SECRET, "the ARN of a secret", "arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME"
    ),
    "notify": _like(_MAIL, "a mail address", "oncall@example.com"),
    "test_on_cpu": read_flag,
}
KEYS = tuple(READERS)
REQUIRED = (
    *("model", "spec", "plan", "repository"),
    *("connection", "signing_key", "install", "router"),
)


def read_pipeline(
    values: Mapping[str, object], environments: Mapping[str, object]
) -> tuple[PipelineSettings | None, list[tuple[str, Mistake]]]:
    """The section's values by key, read; and what is wrong, by the key it is of."""
    read: dict[str, object] = {}
    mistakes: list[tuple[str, Mistake]] = []

    def wrong(key: str, problem: str, fix: str) -> None:
        mistakes.append((key, Mistake(f"{SECTION}.{key}", problem, fix)))

    for key, value in values.items():
        try:
            read[key] = READERS[key](value)
        except WrongValue as found:
            wrong(key, found.problem, found.fix)
    for key in REQUIRED:
        if key not in values:
            wrong(key, "missing", f"write {key}: below {SECTION}:")
    for key in ("staging", "production"):
        name = read.get(key, key)
        if (key in read or key not in values) and name not in environments:
            wrong(key, f"{name!r} is none of the environments here", "list it below environments:")
    if mistakes:
        return None, mistakes
    read.setdefault(
        "name", f"{read['model']}-release".lower().replace("_", "-").replace(".", "-")[:32]
    )
    return PipelineSettings(**read), []  # type: ignore[arg-type]


def _name_of(model: str) -> str:
    """A pipeline's name for a model's."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:22].rstrip("-")
    return f"{plain if plain[:1].isalpha() else f'm-{plain}'}-release"
