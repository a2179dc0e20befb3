"""tslc: the release engineering of LLMs on TorchServe and vLLM."""

__version__ = "0.1.0"
