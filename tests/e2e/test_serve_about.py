"""What the server says about itself and its model."""
import datetime, json, socket, time
import pytest

from serve_client import Server, TOY, error, serving


@pytest.fixture(scope="module")
def server(): yield from serving("--parallel", 3)


def test_models_for_all_clients(server):
    body = server.ask("GET", "/v1/models").json
    model = body["data"][0]
    assert body["object"] == "list" and body["has_more"] is False and body["first_id"] == body["last_id"] == model["id"] == "toy" and len(body["data"]) == 1
    assert model["object"] == model["type"] == "model" and model["owned_by"] == "r2" and model["display_name"] == "toy" and model["lifecycle"] == "active"
    at = datetime.datetime.strptime(model["created_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    assert at.timestamp() == model["created"] and abs(model["created"] - time.time()) < 600
    assert model["max_input_tokens"] == model["max_tokens"] == 1024 and model["meta"]["n_ctx_train"] == 1024
    assert model["meta"]["n_params"] > 0 and model["meta"]["size"] > 0
    assert server.ask("GET", "/v1/models/toy").json == model
    for path in ("/v1/models/other", "/v1/models/toy%", "/v1/models/toy/x", "/v1/models/%74o"): assert error(server.ask("GET", path), 404)["code"] == "model_not_found"


def test_catalog_of_codex(server):
    """The fields without which its reader gives up, and their types."""
    model, = server.ask("GET", "/v1/models").json["models"]
    types = {"slug": str, "display_name": str, "supported_reasoning_levels": list, "shell_type": str, "visibility": str, "supported_in_api": bool, "priority": int,
             "base_instructions": str, "supports_reasoning_summaries": bool, "support_verbosity": bool, "truncation_policy": dict, "supports_parallel_tool_calls": bool,
             "experimental_supported_tools": list}
    assert all(type(model[k]) is t for k, t in types.items())
    assert model["slug"] == "toy" and model["visibility"] == "list" and model["shell_type"] == "shell_command" and model["context_window"] == 1024
    assert model["truncation_policy"].keys() == {"mode", "limit"} and all(l.keys() == {"effort", "description"} for l in model["supported_reasoning_levels"])


def test_props_and_slots(server):
    props = server.ask("GET", "/props").json
    assert props["total_slots"] == 3 and props["model_alias"] == "toy" and props["default_generation_settings"]["n_ctx"] == 1024
    assert props["default_generation_settings"]["params"]["temperature"] >= 0 and TOY not in server.ask("GET", "/props").text
    idle = server.ask("GET", "/slots").json
    assert [s["id"] for s in idle] == [0, 1, 2] and not any(s["is_processing"] for s in idle)
    stalled = []
    try:
        body = json.dumps({"prompt": "secret words", "n": 2, "max_tokens": 1000, "stream": True, "logprobs": 20}).encode()
        seen, end = [], time.monotonic() + 60
        while not any(s["is_processing"] for s in seen):   # it may have ended before we look
            assert time.monotonic() < end
            s = socket.create_connection(("127.0.0.1", server.port))
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            stalled.append(s)
            seen = server.ask("GET", "/slots").json
        assert len(seen) == 3 and all(s["n_prompt_tokens"] >= s["n_prompt_tokens_processed"] >= 0 and s["n_decoded"] >= 0 for s in seen if s["is_processing"])
        assert "secret" not in str(seen)
    finally:
        for s in stalled: s.close()


KNOWN = """model temperature top_p top_k min_p presence_penalty frequency_penalty repetition_penalty seed n stop stream stream_options logit_bias return_progress user
user_id prompt_cache_key metadata store service_tier response_format ignore_eos max_tokens logprobs grammar ebnf guided_grammar json_schema guided_json regex guided_regex
guided_choice structured_outputs tools""".split()
OF_CHATS = """messages max_completion_tokens top_logprobs reasoning_effort thinking enable_thinking think reasoning chat_template_kwargs reasoning_budget_tokens
thinking_budget_tokens thinking_token_budget reasoning_min_tokens tool_choice functions function_call modalities audio prediction web_search_options parallel_tool_calls
verbosity""".split()


def test_unknown_fields_are_told_once():
    server = Server()
    try:
        for _ in range(3):
            server.chat(max_tokens=1, mirostat=1, **{"best of all": 2, "x" * 100: 3, "\u00e4\n\u001b[31m": 4}, **{k: None for k in KNOWN + OF_CHATS if k not in ("messages", "max_tokens")})
            r = server.ask("POST", "/v1/completions", {"prompt": "x", "max_tokens": 1, "mirostat": 2, "suffix": None, "echo": None, "best_of": None, "keep_alive": 5, **{k: None for k in KNOWN if k != "max_tokens"}})
            assert r.status == 200
        for i in range(100): server.chat(max_tokens=1, **{f"many{i}": 1})
    finally:
        server.stop()
    told = [l.split(": ", 1)[1] for l in server.lines if l.startswith("field without effect")]
    assert len(told) == 64 and sorted(told[:5]) == sorted(t + " (told once)\n" for t in ("mirostat", "best?of?all", "x" * 47, "????[31m", "keep_alive"))
