"""The Python package `openai` against `r2lm serve`."""
import asyncio, enum, json, threading, time
import openai, pydantic
import pytest
from served_model import KEY

COLOURS = [{"role": "user", "content": "Name three colours."}]
STORY = dict(messages=[{"role": "user", "content": "Tell a story."}], extra_body={"ignore_eos": True})   # as long as the context
GREEDY = dict(temperature=0, max_tokens=40)
NO_RETRY = dict(api_key=KEY, max_retries=0, timeout=120)


@pytest.fixture(scope="module")
def client(coder):
    with openai.OpenAI(base_url=coder.base, **NO_RETRY) as c: yield c


@pytest.fixture(scope="module")
def model(client): return client.models.list().data[0].id


@pytest.fixture(scope="module")
def whole(client, model):
    return client.chat.completions.create(model=model, messages=COLOURS, **GREEDY)


@pytest.fixture(scope="module")
def toy(thinker):
    with openai.OpenAI(base_url=thinker.base, **NO_RETRY) as c: yield c


# ---------------------------------------------------------------- models
def test_models(client, model):
    assert client.models.retrieve(model).id == model
    assert [m.id for m in client.models.list()] == [model]
    assert client.models.list().data[0].object == "model"


# ---------------------------------------------------------------- chat
def test_whole_answer(whole, model):
    usage, choice = whole.usage, whole.choices[0]
    assert whole.object == "chat.completion" and whole.model == model and whole.created > 1.7e9
    assert choice.message.role == "assistant" and choice.message.content and choice.message.tool_calls is None
    assert choice.finish_reason in ("stop", "length") and choice.index == 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens and 0 < usage.completion_tokens <= 40
    assert usage.prompt_tokens_details.cached_tokens >= 0 and usage.completion_tokens_details.reasoning_tokens == 0
    assert usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens == usage.prompt_tokens   # what the client does not know survives


def test_stream_says_the_same(client, model, whole):
    chunks = list(client.chat.completions.create(model=model, messages=COLOURS, stream=True, stream_options={"include_usage": True}, **GREEDY))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant" and all(c.choices[0].delta.role is None for c in chunks[1:-1])
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_stream_helper(client, model):
    """Theirs, which assembles a completion from the chunks."""
    ask = dict(model=model, messages=COLOURS, temperature=0, max_tokens=400, stop=["\n", "."])
    with client.chat.completions.stream(**ask) as stream:
        seen = [e for e in stream]
        final = stream.get_final_completion()
    whole = client.chat.completions.create(**ask)
    assert final.choices[0].message.content == whole.choices[0].message.content and final.choices[0].message.role == "assistant"
    assert final.choices[0].finish_reason == "stop" and final.id.startswith("chatcmpl-")
    kinds = [e.type for e in seen]
    assert "chunk" in kinds and "content.delta" in kinds and "content.done" in kinds
    with pytest.raises(openai.LengthFinishReasonError):   # what the helper makes of the end "length"
        with client.chat.completions.stream(model=model, messages=COLOURS, temperature=0, max_tokens=2) as stream: stream.get_final_completion()


def test_logprobs(client, model, whole):
    scored = client.chat.completions.create(model=model, messages=COLOURS, logprobs=True, top_logprobs=2, **GREEDY)
    items = scored.choices[0].logprobs.content
    assert "".join(t.token for t in items) == scored.choices[0].message.content == whole.choices[0].message.content
    for t in items:
        assert len(t.top_logprobs) == 2 and t.logprob == t.top_logprobs[0].logprob >= t.top_logprobs[1].logprob and bytes(t.bytes).decode() == t.token


def test_stop_and_length(client, model, whole):
    text = whole.choices[0].message.content
    word = text.split()[3]
    cut = client.chat.completions.create(model=model, messages=COLOURS, stop=word, **GREEDY).choices[0]
    assert cut.message.content == text[:text.index(word)] and cut.finish_reason == "stop"
    short = client.chat.completions.create(model=model, messages=COLOURS, temperature=0, max_completion_tokens=3)
    assert short.choices[0].finish_reason == "length" and short.usage.completion_tokens == 3


def test_same_seed_same_answer(client, model):
    said = [client.chat.completions.create(model=model, messages=COLOURS, temperature=1.5, seed=s, max_tokens=30).choices[0].message.content for s in (1, 1, 2, 3)]
    assert said[0] == said[1] and len(set(said)) > 1


# ---------------------------------------------------------------- structured output
class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Animal(pydantic.BaseModel):
    name: str
    legs: int
    size: Size
    food: list[str]
    nickname: str | None


ANIMAL = [{"role": "user", "content": "Describe a horse as JSON: name, legs, size (small or large), two foods, nickname."}]


def test_parse_into_pydantic(client, model):
    ask = dict(model=model, messages=ANIMAL, response_format=Animal, temperature=0, max_tokens=200)
    answer = client.chat.completions.parse(**ask)
    animal = answer.choices[0].message.parsed
    assert isinstance(animal, Animal) and animal.name and animal == Animal.model_validate_json(answer.choices[0].message.content)
    with client.chat.completions.stream(**ask) as stream:
        kinds = [e.type for e in stream]
        assert stream.get_final_completion().choices[0].message.parsed == animal and "content.done" in kinds
    with pytest.raises(openai.LengthFinishReasonError): client.chat.completions.parse(**{**ask, "max_tokens": 3})


def test_json_object_and_refused_schemas(client, model):
    ask = dict(model=model, messages=ANIMAL, temperature=0, max_tokens=300)
    assert isinstance(json.loads(client.chat.completions.create(response_format={"type": "json_object"}, **ask).choices[0].message.content), dict)
    form = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {"type": "object", "if": {}}}}
    with pytest.raises(openai.BadRequestError) as e: client.chat.completions.create(response_format=form, **ask)
    assert e.value.param.startswith("response_format") and "if" in e.value.body["message"]


# ---------------------------------------------------------------- tools
class Weather(pydantic.BaseModel):
    """Today's weather in a city."""
    city: str
    unit: Size | None


def function(name, about, **properties):
    form = {"type": "object", "properties": {k: {"type": v} for k, v in properties.items()}, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": about, "parameters": form}}


TOOLS = [function("get_weather", "Today's weather in a city", city="string"), function("add", "Adds two whole numbers", a="integer", b="integer")]
PARIS = [{"role": "user", "content": "What is the weather in Paris? Use the tool."}]


def calls_of(message):
    return [(c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls or []]


def test_tools_whole_and_streamed(client, model):
    ask = dict(model=model, messages=PARIS, tools=TOOLS, parallel_tool_calls=False, temperature=0, max_tokens=200)   # else this small model calls for ever
    for choice in ("auto", "required", {"type": "function", "function": {"name": "add"}}):
        whole = client.chat.completions.create(tool_choice=choice, **ask).choices[0]
        assert whole.finish_reason == "tool_calls" and len(whole.message.tool_calls) > 0 and not whole.message.content
        assert len({c.id for c in whole.message.tool_calls}) == len(whole.message.tool_calls) and all(c.type == "function" and c.id for c in whole.message.tool_calls)
        for name, arguments in calls_of(whole.message):
            assert set(arguments) == {"get_weather": {"city"}, "add": {"a", "b"}}[name]
            if isinstance(choice, dict): assert name == "add" and all(type(v) is int for v in arguments.values())
        if isinstance(choice, str): assert calls_of(whole.message)[0] == ("get_weather", {"city": "Paris"})
        with client.chat.completions.stream(tool_choice=choice, **ask) as stream:
            kinds = [e.type for e in stream]
            final = stream.get_final_completion().choices[0]
        assert calls_of(final.message) == calls_of(whole.message) and final.finish_reason == "tool_calls" and not final.message.content
        assert kinds.count("tool_calls.function.arguments.delta") > len(calls_of(final.message)) and "tool_calls.function.arguments.done" in kinds
    silent = client.chat.completions.create(tool_choice="none", **ask).choices[0]
    assert silent.message.content and silent.message.tool_calls is None and silent.finish_reason in ("stop", "length")


def test_a_tool_s_result_is_read(client, model):
    ask = dict(model=model, tools=TOOLS[:1], temperature=0, max_tokens=100)
    message = client.chat.completions.create(messages=PARIS, tool_choice="required", parallel_tool_calls=False, **ask).choices[0].message
    [call] = message.tool_calls
    history = PARIS + [message, {"role": "tool", "tool_call_id": call.id, "content": "It snows, 7 degrees below zero."}]
    assert "snow" in client.chat.completions.create(messages=history, tool_choice="none", **ask).choices[0].message.content


def test_tools_of_pydantic(client, model):
    message = client.chat.completions.parse(model=model, messages=PARIS, tools=[openai.pydantic_function_tool(Weather)], tool_choice="required", parallel_tool_calls=False,
                                            temperature=0, max_tokens=200).choices[0].message
    assert isinstance(message.tool_calls[0].function.parsed_arguments, Weather) and "Paris" in message.tool_calls[0].function.parsed_arguments.city


# ---------------------------------------------------------------- completions
def test_completions(client, model):
    ask = dict(model=model, prompt="def add(a, b):\n    return", temperature=0, max_tokens=12)
    whole = client.completions.create(**ask)
    text = whole.choices[0].text
    assert whole.object == "text_completion" and text.startswith(" a + b") and whole.usage.completion_tokens <= 12
    chunks = list(client.completions.create(stream=True, stream_options={"include_usage": True}, **ask))
    assert "".join(c.choices[0].text for c in chunks if c.choices) == text and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    ids = client.post("/tokenize", cast_to=dict, body={"content": ask["prompt"]}, options={})["tokens"]
    assert client.completions.create(**{**ask, "prompt": ids}).choices[0].text == text
    several = client.completions.create(**{**ask, "prompt": [ask["prompt"], "print("], "n": 2})
    assert [c.index for c in several.choices] == [0, 1, 2, 3] and several.choices[0].text == several.choices[1].text == text
    echoed = client.completions.create(**{**ask, "echo": True, "logprobs": 2, "max_tokens": 1}).choices[0]
    assert echoed.text.startswith(ask["prompt"]) and "".join(echoed.logprobs.tokens) == echoed.text
    assert echoed.logprobs.token_logprobs[0] is None and all(v <= 0 for v in echoed.logprobs.token_logprobs[1:]) and echoed.logprobs.text_offset[0] == 0
    filled = client.completions.create(model=model, prompt="def add(a, b):\n    ", suffix="\n\nprint(add(1, 2))", temperature=0, max_tokens=30).choices[0].text
    assert "return a + b" in filled


def test_several_answers(client, model):
    ask = dict(model=model, messages=COLOURS, n=3, seed=5, temperature=1.5, max_tokens=300, stop=["\n", "."])
    whole = client.chat.completions.create(**ask)
    texts = [c.message.content for c in whole.choices]
    assert [c.index for c in whole.choices] == [0, 1, 2] and len(set(texts)) > 1
    with client.chat.completions.stream(**ask) as stream: final = stream.get_final_completion()
    assert [c.message.content for c in final.choices] == texts


def test_biases(client, model, whole):
    first = client.chat.completions.create(model=model, messages=COLOURS, logprobs=True, top_logprobs=1, **GREEDY)
    ids = client.post("/tokenize", cast_to=dict, body={"content": first.choices[0].logprobs.content[0].token}, options={})["tokens"]
    ids = [t if isinstance(t, int) else t["id"] for t in ids]
    biased = client.chat.completions.create(model=model, messages=COLOURS, logit_bias={str(ids[0]): -100}, **GREEDY)
    assert not biased.choices[0].message.content.startswith(whole.choices[0].message.content[:5])


def test_history_and_content_parts(client, model):
    history = [{"role": "developer", "content": "You answer with one word."}, {"role": "user", "content": [{"type": "text", "text": "My name is "}, {"type": "text", "text": "Nina."}]},
               {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "What is my name?"}]
    assert "Nina" in client.chat.completions.create(model=model, messages=history, **GREEDY).choices[0].message.content


def test_reasoning_arrives_apart(toy):
    ask = dict(model="toy", messages=COLOURS, temperature=0, max_tokens=30, extra_body={"thinking": {"type": "enabled", "budget_tokens": 5}})
    message = toy.chat.completions.create(**ask).choices[0].message
    assert message.reasoning_content == "an" * 5 and set(message.content) == set("an")
    thoughts, text = "", ""
    for chunk in toy.chat.completions.create(stream=True, **ask):
        delta = chunk.choices[0].delta
        thoughts += getattr(delta, "reasoning_content", None) or ""
        text += delta.content or ""
    assert (thoughts, text) == (message.reasoning_content, message.content)
    quiet = toy.chat.completions.create(model="toy", messages=COLOURS, reasoning_effort="none", **GREEDY).choices[0].message
    assert quiet.content == "an" * 40 and getattr(quiet, "reasoning_content", None) is None


# ---------------------------------------------------------------- errors
def test_errors_become_their_exceptions(client, coder, model):
    ask = dict(model=model, messages=COLOURS, max_tokens=1)
    for wrong in (dict(temperature=9), dict(max_tokens=-1), dict(messages=[]), dict(top_logprobs=3), dict(tools=[{"type": "function"}]), dict(reasoning_effort="much")):
        with pytest.raises(openai.BadRequestError) as e: client.chat.completions.create(**{**ask, **wrong})
        assert (e.value.param or "").startswith(next(iter(wrong))) and isinstance(e.value.code, str) and e.value.type == "invalid_request_error"
        assert e.value.body["message"]
    with pytest.raises(openai.BadRequestError) as e: client.chat.completions.create(model=model, messages=[{"role": "user", "content": "word " * 20000}])
    assert e.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError) as e: client.models.retrieve("no/such:model")
    assert e.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError): client.embeddings.create(model=model, input="x")
    for key in ("sk-wrong", KEY + "x", KEY[:-1]):
        with pytest.raises(openai.AuthenticationError) as e: openai.OpenAI(base_url=coder.base, **{**NO_RETRY, "api_key": key}).models.list()
        assert e.value.status_code == 401 and key not in str(e.value)
    with pytest.raises(openai.APIConnectionError): openai.OpenAI(base_url="http://127.0.0.1:1/v1", **NO_RETRY).models.list()


def hold(busy, client, n):
    """n long streams, of which the first runs and the others wait; returns what ends them."""
    enough = threading.Event()
    def one():
        with client.chat.completions.create(model="any", **STORY, stream=True, temperature=0) as stream:
            for _ in stream:
                if enough.is_set(): return
    threads = [threading.Thread(target=one, daemon=True) for _ in range(n)]
    def end():
        enough.set()
        for t in threads: t.join(60)
    for t in threads: t.start()
    until = time.monotonic() + 60
    while busy.metric("requests_processing") < 1 or busy.metric("requests_deferred") < n - 1:
        assert time.monotonic() < until
        time.sleep(0.01)
    return end


def test_a_full_queue_says_when_to_come_back(busy):
    client = openai.OpenAI(base_url=busy.base, **NO_RETRY)
    ask = dict(model="any", messages=COLOURS, max_tokens=1)
    end = hold(busy, client, 2)   # one runs, one waits
    with pytest.raises(openai.RateLimitError) as e: client.chat.completions.create(**ask)
    assert float(e.value.response.headers["retry-after"]) > 0 and e.value.type == "rate_limit_error"
    threading.Timer(0.5, end).start()
    patient = client.with_options(max_retries=8)   # their own retries, by our header
    assert patient.chat.completions.create(**ask).usage.completion_tokens == 1
    end()


# ---------------------------------------------------------------- leaving early
def test_a_stream_left_early_frees_its_place(busy):
    client = openai.OpenAI(base_url=busy.base, **NO_RETRY)
    ask = dict(model="any", **STORY, temperature=0)
    for _ in range(3):   # one place: the second would wait long
        with client.chat.completions.create(stream=True, **ask) as stream:
            for i, chunk in enumerate(stream):
                if i == 3: break
        assert busy.wait_idle() < 5
    with pytest.raises(openai.APITimeoutError): client.with_options(timeout=1).chat.completions.create(**ask)
    assert busy.wait_idle() < 5


# ---------------------------------------------------------------- many at once
def test_eight_streams_at_once(coder, model):
    asks = [[{"role": "user", "content": f"What is {i} plus {i}? Answer with the number only."}] for i in range(1, 9)]
    async def one(client, messages):
        text = ""
        async for chunk in await client.chat.completions.create(model=model, messages=messages, stream=True, temperature=0, max_tokens=24):
            text += chunk.choices[0].delta.content or ""
        return text
    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=coder.base, **NO_RETRY) as client:
            alone = [await one(client, m) for m in asks]
            return alone, await asyncio.gather(*(one(client, m) for m in asks))
    alone, together = asyncio.run(all_of_them())
    assert alone == together and all(alone) and len(set(alone)) > 4


def test_an_async_task_cancelled_frees_its_place(busy):
    async def leave():
        async with openai.AsyncOpenAI(base_url=busy.base, **NO_RETRY) as client:
            task = asyncio.create_task(client.chat.completions.create(model="any", **STORY, temperature=0))
            while busy.metric("requests_processing") < 1 and not task.done(): await asyncio.sleep(0.01)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError): await task
    asyncio.run(leave())
    assert busy.wait_idle() < 5
