"""Weights from the Hugging Face hub, through huggingface_hub and its own cache and login."""

from __future__ import annotations

from pathlib import Path

from tslc.domain.archive_spec import HubWeights
from tslc.domain.weights import INDEX
from tslc.errors import BadInput, RemoteFailed

# Weights in other formats, pickles among them, are not served and not fetched.
_OTHER_FORMATS = (
    *("*.bin", "*.ckpt", "*.gguf", "*.h5", "*.msgpack", "*.onnx", "*.ot", "*.pt", "*.pth"),
    *("onnx/*", "original/*"),
)
# Beside shards with an index, the same weights once more in one file.
_SECOND_COPY = "consolidated*.safetensors"


def download_weights(weights: HubWeights, cache: Path | None = None) -> Path:
    """The folder of a snapshot, fetched unless it is in the hub's cache (or `cache`) already.

    Raises BadInput when huggingface_hub is not installed or the repository or revision is unknown,
    RemoteFailed when the hub can't be reached or denies access.
    """
    name = str(weights)
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError:
        raise BadInput(
            f"weights {name} need the package huggingface_hub",
            hint="pip install huggingface_hub",
        ) from None

    def fetch(**patterns: list[str]) -> Path:
        found = snapshot_download(
            weights.repo, revision=weights.revision, cache_dir=cache, **patterns
        )
        return Path(found)

    try:
        sharded = (fetch(allow_patterns=["*.json"]) / INDEX).is_file()
        ignored = [*_OTHER_FORMATS, *([_SECOND_COPY] if sharded else [])]
        return fetch(ignore_patterns=ignored)
    except GatedRepoError:
        hint = "ask for access on the model's page, then `hf auth login`"
        raise RemoteFailed(f"{name}: the hub denies access", hint=hint) from None
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        hint = "check the name and the revision; a private one needs `hf auth login`"
        raise BadInput(f"{name}: {_first_line(error)}", hint=hint) from None
    except LocalEntryNotFoundError:
        raise _unreachable(name) from None
    except (HfHubHTTPError, OSError) as error:
        raise RemoteFailed(f"{name}: {_first_line(error)}", hint=_unreachable(name).hint) from None


def _unreachable(name: str) -> RemoteFailed:
    hint = "go online (and unset HF_HUB_OFFLINE), or name a local folder as weights"
    return RemoteFailed(f"{name} is not in the cache and the hub can't be reached", hint=hint)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
