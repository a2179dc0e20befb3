"""`tslc run` with the real vLLM: what the archived launcher promised."""

from __future__ import annotations

import os
import signal

import openai

from running import running
from tslc.adapters.node_processes import wait_gone


def test_a_model_folder_answers_with_settings_chosen_for_this_machine() -> None:
    folder = os.environ["TSLC_DEMO_MODEL"]
    flags = ["--model_name", "demo", "--vllm_engine.max_num_seqs", 8, "--port", 0]
    with running(folder, *flags) as run:
        client = openai.OpenAI(base_url=run.url, api_key="none")
        models = {model.id: model for model in client.models.list()}
        assert set(models) == {"demo", folder}
        # The model's whole context: the KV cache chosen holds it.
        assert models["demo"].model_extra["max_model_len"] == 8192
        said = client.chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": "What is the capital of France?"}],
            temperature=0,
            max_tokens=24,
        )
        assert "Paris" in str(said.choices[0].message.content)
        family, place = run.family(), run.folder()
        assert any("VLLM" in " ".join(process.cmdline()) for process in family)
        run.send(signal.SIGTERM)
        assert run.end(15) == 0
        assert wait_gone(family, 0.5) == ()
        assert not place.exists()
