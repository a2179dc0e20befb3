"""Every check: what it is about, how it is done, how long it may take, on which machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tslc.domain.doctor.finding import Finding
from tslc.verbs.doctor import of_machine, of_node, of_store
from tslc.verbs.doctor.subject import Subject

_SECONDS = 20.0
# Eight things are tried, each of which may be silent for five seconds.
_STORE_SECONDS = 60.0


@dataclass(frozen=True)
class Check:
    """`about`: what is checked, for the table of docs/doctor.md. `serving`: only where models run,
    or are to. `late`: what it means when there is no answer in `seconds`; empty when it means only
    that nothing is known."""

    about: str
    look: Callable[[Subject], Finding]
    seconds: float = _SECONDS
    serving: bool = False
    late: str = ""


CHECKS: Mapping[str, Check] = {
    "java": Check("Java is there and new enough", of_machine.java, serving=True),
    "torchserve": Check("TorchServe is a tested release", of_machine.torchserve, serving=True),
    "vllm": Check("vLLM is a tested release, one alone", of_machine.vllm, serving=True),
    "torch": Check("torch and what is beside it fit", of_machine.torch, serving=True),
    "cpu": Check("what the processor can do", of_machine.cpu, serving=True),
    "gpu": Check("cards, driver and torch's CUDA fit", of_machine.gpu, 30.0, serving=True),
    "envoy": Check("Envoy is there and starts", of_machine.envoy, serving=True),
    "open-files": Check("enough files may be open", of_machine.open_files, serving=True),
    "shared-memory": Check(
        "there is enough shared memory", of_machine.shared_memory, 30.0, serving=True
    ),
    "leftovers": Check("no engine without an owner", of_machine.leftover_engines),
    "ports": Check("a node's ports are free, or its own", of_node.ports, serving=True),
    "disk": Check("room for what the environment wants", of_store.disk, _STORE_SECONDS),
    "store": Check("the store answers and can be listed", of_store.reach, _STORE_SECONDS),
    "store-get": Check("objects can be read", of_store.get, _STORE_SECONDS),
    "store-put": Check("objects can be written", of_store.put, _STORE_SECONDS),
    "store-conditions": Check("conditional writes work", of_store.conditions, _STORE_SECONDS),
    "store-multipart": Check("uploads in parts work", of_store.multipart, _STORE_SECONDS),
    "store-delete": Check("objects can be deleted", of_store.delete, _STORE_SECONDS),
    "signing": Check("the key of --sign signs", of_store.signing, _STORE_SECONDS),
    "clock": Check("this clock agrees with the store's", of_store.clock),
    "node": Check("the node's programs run and are kept running", of_node.node),
    "node-torchserve": Check(
        "TorchServe answers", of_node.torchserve, late="TorchServe does not answer: it hangs"
    ),
    "node-router": Check("the router answers", of_node.router),
    "node-agent": Check("the agent runs and reports", of_node.agent),
    "node-versions": Check("what is wanted is ready", of_node.versions, 40.0),
}
