import jinja2
from hypothesis import given
from hypothesis import strategies as st

from tslc_handlers.chat_template import named_template, template_of, with_system_prompt

PLAIN = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"


def render(template: str, messages: list[dict[str, str]]) -> str:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(messages=messages)


@given(st.text())
def test_any_system_prompt_arrives_as_written(prompt):
    rendered = render(with_system_prompt(PLAIN, prompt), [{"role": "user", "content": "hi"}])
    assert rendered == f"<system>{prompt}<user>hi"


def test_a_conversation_with_its_own_system_message_keeps_it():
    own = [{"role": "system", "content": "mine"}, {"role": "user", "content": "hi"}]
    assert render(with_system_prompt(PLAIN, "theirs"), own) == "<system>mine<user>hi"


def test_tags_in_a_system_prompt_are_text():
    prompt = "{{ 7 * 7 }} {% raise %} {# note #}"
    rendered = render(with_system_prompt(PLAIN, prompt), [{"role": "user", "content": "hi"}])
    assert prompt in rendered


def test_a_template_is_found_in_either_place(tmp_path):
    assert template_of(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text(
        '{"chat_template": [{"name": "a", "template": "r"}, {"name": "default", "template": "d"}]}'
    )
    assert template_of(tmp_path) == "d"
    (tmp_path / "chat_template.jinja").write_text("file")
    assert template_of(tmp_path) == "file"


def test_a_named_template_is_a_file_of_the_archive_or_text(tmp_path):
    (tmp_path / "t.jinja").write_text("from file")
    assert named_template("t.jinja", tmp_path) == "from file"
    assert named_template(PLAIN * 100, tmp_path) == PLAIN * 100
