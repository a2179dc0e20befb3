"""Whether a version's signature is good enough for the environment that wants to use it."""

from __future__ import annotations

from tslc.domain.settings import Settings
from tslc.domain.store_manifest import StoreManifest
from tslc.verbs.pull import Check


def checker(settings: Settings) -> Check:
    """The check of the settings' environment."""
    environment = settings.environment()

    def check(manifest: StoreManifest, signature: bytes | None) -> str:
        return f"not checked ({environment.name})"

    return check
