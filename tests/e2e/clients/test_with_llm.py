"""The program `llm` of the Python package of that name, with `r2lm serve` as an extra OpenAI-compatible model."""
import json, os, subprocess
import pytest
from served_model import CLIENTS, KEY

LLM = os.path.join(CLIENTS, "openai_llm", "bin", "llm")


@pytest.fixture
def llm(coder, fence, tmp_path):
    settings = tmp_path / "llm"
    settings.mkdir()
    ours = dict(model_name="any", api_base=coder.base, api_key_name="here", supports_schema=True, supports_tools=True)
    models = [dict(ours, model_id="ours"), dict(ours, model_id="ours-text", completion=True)]
    (settings / "extra-openai-models.yaml").write_text(json.dumps(models))   # JSON is YAML
    (settings / "keys.json").write_text(json.dumps({"here": KEY}))
    environment = {**fence.environment(tmp_path), "LLM_USER_PATH": str(settings)}

    def run(*arguments, stdin="", code=0):
        done = subprocess.run([LLM, *arguments], input=stdin, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
        assert done.returncode == code, (done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout.strip() if code == 0 else done.stderr
    return run


def test_prompt_stream_or_not(llm):
    ask = ("-m", "ours", "-o", "temperature", "0", "-o", "max_tokens", "30", "Name three colours.")
    text = llm(*ask)
    assert text and llm("--no-stream", *ask) == text
    assert "Nina" in llm("-m", "ours", "-o", "temperature", "0", "-o", "max_tokens", "30", "-s", "Say which name is in the text.", stdin="Nina lives here.")
    spent = json.loads(llm("logs", "--json", "-n", "3"))
    assert len(spent) == 3 and all(s["input_tokens"] > 0 and s["output_tokens"] > 0 for s in spent)


def test_conversation(llm):
    greedy = ("-o", "temperature", "0", "-o", "max_tokens", "30")
    llm("-m", "ours", *greedy, "My name is Nina. Greet me.")
    assert "Nina" in llm("-c", *greedy, "What is my name?")
    assert "Nina" not in llm("-m", "ours", *greedy, "What is my name?")


def test_schema(llm):
    greedy = ("-o", "temperature", "0", "-o", "max_tokens", "200")
    for more in ((), ("--no-stream",)):
        animal = json.loads(llm("-m", "ours", *more, *greedy, "--schema", "name, legs int, is_tame bool", "Describe a horse."))
        assert set(animal) == {"name", "legs", "is_tame"} and type(animal["legs"]) is int and type(animal["is_tame"]) is bool
    several = json.loads(llm("-m", "ours", *greedy, "--schema-multi", "name, legs int", "Name two animals."))
    assert all(set(i) == {"name", "legs"} for i in several["items"])


def test_tools(llm):
    function = "def count_letters(word: str) -> int:\n    \"Number of letters of a word\"\n    return 40 + len(word)\n"
    told = llm("-m", "ours", "-o", "temperature", "0", "-o", "max_tokens", "60", "--functions", function, "--chain-limit", "2", "--td",
               "How many letters has the word cat? Use count_letters.", code=1)     # the third turn, as this model calls without end
    assert "Tool call: count_letters({'word': 'cat'})\n  43" in told, told


def test_completions(llm):
    assert llm("-m", "ours-text", "-o", "temperature", "0", "-o", "max_tokens", "8", "def add(a, b):\n    return").startswith("a + b")


def test_errors_are_told(llm, coder):
    assert "temperature" in llm("-m", "ours", "-o", "temperature", "3", "Hello", code=1)
    assert "API key" in llm("-m", "ours", "--key", "sk-wrong", "Hello", code=1)


def test_models_are_listed(llm):
    assert "ours" in llm("models", "list") and "ours-text" in llm("models", "list")
