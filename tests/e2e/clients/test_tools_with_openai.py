"""Tool calls with the Python package `openai`: the client's own view of calls, streams and results."""
import json
import openai, pydantic
import pytest
from served_model import KEY

SYSTEM = {"role": "system", "content": "You are a helpful assistant. Use the tools."}
ASK = [SYSTEM, {"role": "user", "content": "What is the weather in Paris?"}]


class Weather(pydantic.BaseModel):
    """Get the weather in a city"""
    city: str
    unit: str | None = None


TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Get the weather in a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["C", "F"]}}, "required": ["city"]}}}]
NAMED = {"type": "function", "function": {"name": "get_weather"}}


@pytest.fixture(scope="module")
def client(coder):
    with openai.OpenAI(base_url=coder.base, api_key=KEY, max_retries=0, timeout=120) as c: yield c


def ask(client, **more):
    return dict(model=client.models.list().data[0].id, temperature=0, max_tokens=200, **{"messages": ASK, "tools": TOOLS, **more})


def test_a_round_of_calls(client, coder):
    """Asked for, called, answered: the model reads the result."""
    first = client.chat.completions.create(**ask(client, tool_choice=NAMED))
    choice = first.choices[0]
    call = choice.message.tool_calls[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None and len(choice.message.tool_calls) == 1
    assert call.type == "function" and call.function.name == "get_weather" and "Paris" in json.loads(call.function.arguments)["city"]
    messages = ASK + [choice.message, {"role": "tool", "tool_call_id": call.id, "content": '{"temperature": 21, "sky": "clear"}'}]
    second = client.chat.completions.create(**ask(client, messages=messages))
    answer = client.chat.completions.create(**ask(client, messages=messages, tool_choice="none")).choices[0]
    assert answer.finish_reason == "stop" and "21" in answer.message.content and answer.message.tool_calls is None
    # the call comes back as the tokens that were drawn: only the result is new
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.total_tokens - 2


def test_left_to_the_model(client):
    """The 0.5B calls by itself, if only without its own markers."""
    choice = client.chat.completions.create(**ask(client)).choices[0]
    assert choice.finish_reason == "tool_calls" and "Paris" in json.loads(choice.message.tool_calls[0].function.arguments)["city"]


def test_streams(client):
    for more in (dict(tool_choice="required", parallel_tool_calls=False), dict(tool_choice=NAMED), {}):
        whole = client.chat.completions.create(**ask(client, **more)).choices[0].message.tool_calls
        with client.chat.completions.stream(**ask(client, **more)) as stream:
            deltas = [e.arguments_delta for e in stream if e.type == "tool_calls.function.arguments.delta"]
            said = stream.get_final_completion().choices[0]
        assert said.finish_reason == "tool_calls" and "".join(deltas) == said.message.tool_calls[0].function.arguments
        assert [(c.function.name, c.function.arguments) for c in said.message.tool_calls] == [(c.function.name, c.function.arguments) for c in whole]
        raw = list(client.chat.completions.create(**ask(client, **more), stream=True))
        calls = [d for c in raw for d in (c.choices[0].delta.tool_calls or [])]
        assert calls[0].id and calls[0].function.name == "get_weather" and all(d.id is None and d.function.name is None for d in calls[1:] if d.index == 0)


def test_parse(client):
    """`.parse()` makes strict functions of pydantic models."""
    said = client.chat.completions.parse(**ask(client, tools=[openai.pydantic_function_tool(Weather)], tool_choice="required", parallel_tool_calls=False))
    call = said.choices[0].message.tool_calls[0]
    assert call.function.name == "Weather" and isinstance(call.function.parsed_arguments, Weather)
