"""The program from outside: exit codes, what goes to which stream, JSON, texts, a conversation on a terminal."""
import json, math, os, pty, re, resource, select, shutil, signal, stat, struct, subprocess, time
import pytest
from cli_client import DATA, FAILED, MEMORY, OK, PROGRAM, SOURCE, TOY, USAGE, home, one_line, r2lm   # noqa: F401  (fixtures)

COMMANDS = "run chat serve list show tokenize ppl bench plan convert quantize verify data plot tokenizer train runs tasks eval config doctor version help completion licenses".split()


# ---------------------------------------------------------------- run
def test_run_prints_the_answer_alone():
    done = r2lm("run", "-m", TOY, "-p", "Hello", "-n", 6, "--temp", 0, "--no-think")
    assert done.out == "an" * 6 + "\n"
    assert done.err == ""


def test_thoughts_stay_off_standard_output():
    done = r2lm("run", "-m", TOY, "-p", "Hello", "-n", 12, "--temp", 0, "--budget", 4)
    assert done.out == "an" * 7 + "\n"       # 4 thoughts and the forced end before it
    assert done.err == ""
    shown = r2lm("run", "-m", TOY, "-p", "Hello", "-n", 12, "--temp", 0, "--budget", 4, "--no-hide-thinking")
    assert shown.out == done.out and "anananan" in shown.err and "think>" not in shown.err + shown.out


def test_budget_is_exact_and_reported():
    for budget in (1, 2, 7, 19):
        said = json.loads(r2lm("run", "-m", TOY, "-p", "Hello", "-n", 24, "--temp", 0, "--budget", budget, "--json").out)
        assert (said["thinking_tokens"], said["thinking"], said["thinking_truncated"]) == (budget, "an" * budget, True)
        assert said["completion_tokens"] == 24 and said["text"] == "an" * (24 - budget - 1) and said["finish_reason"] == "length"


def test_prompt_from_everywhere(tmp_path):
    def said(*arguments, stdin=""): return json.loads(r2lm("run", "-n", 1, "--json", *arguments, stdin=stdin).out)["prompt_tokens"]
    count = lambda text: json.loads(r2lm("run", "-m", TOY, "-p", text, "-n", 1, "--json").out)["prompt_tokens"]
    file = tmp_path / "text"
    file.write_text("abc")
    assert said("-m", TOY, stdin="some words") == count("some words")
    assert said(TOY, "some", "words") == count("some words")
    assert said("-m", TOY, "-f", file) == count("abc")
    assert said("-m", TOY, "-p", "x", "-f", file) == count("x\n\nabc")
    assert said("-m", TOY, "words", stdin="and more") == count("words\n\nand more")
    assert said("-m", TOY, "-p", "words", stdin="left alone") == count("words")
    assert said("-m", TOY, "-p", "words", "-f", "-", stdin="read") == count("words\n\nread")
    assert said("-m", TOY, "--system", "be brief", "-p", "x") > count("x")
    assert said("-m", TOY, "--", "-p") == count("-p")
    r2lm("run", "-m", TOY, code=USAGE)


def test_seed_repeats():
    texts = [r2lm("run", "-m", TOY, "-p", "Hi", "-n", 40, "--temp", 5, "--top-p", 1, "--min-p", 0, "--seed", s, "--raw").stdout for s in (3, 3, 4)]
    assert texts[0] == texts[1] != texts[2]


def test_raw_and_levels_agree():
    texts = {r2lm("run", "-m", TOY, "-p", "Hi", "-n", 5, "--temp", 0, "--raw", "--cpu", level).out for level in ("ref", "portable")}
    texts.add(r2lm("run", "-m", TOY, "-p", "Hi", "-n", 5, "--temp", 0, "--raw", "--no-pack", "-t", 1).out)
    assert len(texts) == 1


def test_jsonl_is_a_stream_of_objects():
    events = [json.loads(l) for l in r2lm("run", "-m", TOY, "-p", "Hi", "-n", 9, "--temp", 0, "--budget", 3, "--jsonl").out.splitlines()]
    assert events[-1]["type"] == "done" and {e["type"] for e in events} == {"thinking", "text", "done"}
    assert "".join(e["text"] for e in events if e["type"] == "text") == events[-1]["text"] == "an" * 5


def test_drafts_change_nothing_but_the_speed():
    for temp in (0, 0.8):
        said = lambda *draft: json.loads(r2lm("run", "-m", TOY, "-p", "Hi Hi Hi", "-n", 60, "--temp", temp, "--seed", 4, "--json", *draft).out)
        plain, drafted = said("--draft", "off"), said("--draft", 32)
        assert (plain["text"], plain["thinking"], plain["thinking_tokens"]) == (drafted["text"], drafted["thinking"], drafted["thinking_tokens"])
        assert plain["timings"]["drafted_tokens"] == 0 and drafted["timings"]["accepted_tokens"] <= drafted["timings"]["drafted_tokens"]
    for bad in ("33", "-1", "of"):
        assert "--draft" in one_line(r2lm("run", "-m", TOY, "-p", "Hi", "--draft", bad, code=USAGE).err)


def test_bench_answers_a_text(tmp_path):
    (tmp_path / "question").write_text("Hi Hi Hi")
    said = json.loads(r2lm("bench", "-m", TOY, "-n", 20, "-p", 16, "--streams", 1, "-r", 1, "-f", tmp_path / "question", "--draft", 8, "--json").out)
    assert said["answer_tokens"] > 0 and said["answer_tok_s"] > 0 and 0 <= said["answer_accepted"] <= said["answer_drafted"]
    assert "answer_tok_s" not in json.loads(r2lm("bench", "-m", TOY, "-n", 2, "-p", 16, "--streams", 1, "-r", 1, "--json").out)
    assert "nowhere" in one_line(r2lm("bench", "-m", TOY, "-f", tmp_path / "nowhere", code=DATA).err)


def test_interrupt_ends_with_130():
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        child = subprocess.Popen([PROGRAM, "run", "-m", TOY, "-p", "Hi", "-n", "30000", "-c", "32768", "--temp", "0", "--no-think", "--draft", "off", "--jsonl"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        child.stdout.readline()   # a full pipe then holds the program until it is told to stop
        child.send_signal(number)
        out, _ = child.communicate(timeout=60)
        assert child.returncode == code
        assert json.loads(out.splitlines()[-1])["finish_reason"] == "canceled"


def test_closed_pipe_is_no_crash():
    child = subprocess.Popen([PROGRAM, "run", "-m", TOY, "-p", "Hi", "-n", "900", "--temp", "0", "--no-think"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.close()
    assert child.wait(timeout=60) in (-signal.SIGPIPE, FAILED, OK)


# ---------------------------------------------------------------- wrong usage
@pytest.mark.parametrize("arguments, nearest", [
    (["rnu"], "r2lm run"), (["versoin"], "r2lm version"), (["run", "--tempp", "1"], "--temp"), (["run", "--top_k", "1"], "--top-k"),
    (["bench", "--stream", "2"], "--streams"), (["list", "--josn"], "--json"), (["run", "--no-tink"], ""), (["zzzzzz"], "")])
def test_unknown_words_name_the_nearest(arguments, nearest):
    assert nearest in one_line(r2lm(*arguments, code=USAGE).err)


@pytest.mark.parametrize("flags", [["-n", "-1"], ["-n", "x"], ["-n", "1.5"], ["-n", ""], ["--temp", "nan"], ["--temp", "-1"], ["--top-p", "1.1"], ["-c", "99999999999"],
                                   ["--cpu", "sse9"], ["--color", "blue"], ["-t", "257"], ["--seed", "-2"], ["-n"], ["--json=maybe"], ["--no-json=1"], ["-Z"], ["--ignore-eos"]])
def test_bad_values(flags):
    done = r2lm("run", "-m", TOY, "-p", "x", *flags, code=USAGE)
    one_line(done.err)
    assert done.out == ""


def test_no_command_and_flags_first():
    assert "usage" in r2lm().out
    r2lm("-m", TOY, code=USAGE)
    assert r2lm("--version").out.startswith("r2lm ")


def test_flag_before_environment_before_default():
    tokens = lambda *flags, **env: json.loads(r2lm("run", "-m", TOY, "-p", "x", "--temp", 0, "--json", *flags, env=env).out)["completion_tokens"]
    assert tokens(R2LM_PREDICT="3") == 3
    assert tokens("-n", 2, R2LM_PREDICT="3") == 2
    assert tokens("--predict=4") == 4
    assert "R2LM_PREDICT" in one_line(r2lm("run", "-m", TOY, "-p", "x", code=USAGE, env=dict(R2LM_PREDICT="x")).err)
    assert json.loads(r2lm("run", "-p", "x", "-n", 1, env=dict(R2LM_MODEL=TOY, R2LM_JSON="1")).out)["model"] == "toy"


# ---------------------------------------------------------------- settings in files
def test_order_of_strength(home, tmp_path):
    """flag > variable > ./r2lm.ini > the user's file > the system's > default"""
    system, user, local = tmp_path / "system.ini", home / ".config/r2lm/config.ini", tmp_path / "r2lm.ini"
    user.parent.mkdir(parents=True)
    def tokens(*flags, **env):
        return json.loads(r2lm("run", "-m", TOY, "-p", "x", "--temp", 0, "--json", *flags, env=dict(env, R2LM_SYSTEM_CONFIG=str(system)), cwd=tmp_path).out)["completion_tokens"]
    system.write_text("predict = 11\n[run]\npredict = 7\n")
    assert tokens() == 7
    user.write_text("# mine\n[bench]\npredict = 3\n[run]\n  n-predict =  6  \n\n; over\n")
    assert tokens() == 6
    local.write_text('predict="5"')
    assert tokens() == 5
    assert tokens(XDG_CONFIG_HOME=str(tmp_path / "nothing")) == 5
    assert tokens(R2LM_PREDICT="4") == 4
    assert tokens("-n", 2, R2LM_PREDICT="4") == 2
    listed = [(s["key"], s["command"], s["value"]) for s in json.loads(r2lm("config", "--json", cwd=tmp_path, env=dict(R2LM_SYSTEM_CONFIG=str(system), R2LM_PREDICT="4")).out)["settings"]]
    assert listed[:3] == [("predict", None, "4"), ("predict", None, "5"), ("n-predict", "run", "6")] and listed[-1] == ("predict", None, "11")
    assert r2lm("config", "get", "run.predict", cwd=tmp_path).out == "5\n" and r2lm("config", "get", "bench.predict", cwd="/").out == "3\n"
    assert r2lm("config", "get", "bench.streams").out == "32\n" and r2lm("config", "get", "prompt", code=FAILED).out == ""
    local.write_text("predict = x\n")
    assert one_line(r2lm("run", "-m", TOY, "-p", "x", cwd=tmp_path, code=USAGE).err).startswith("r2lm: ./r2lm.ini:1: predict: expected")


def test_config_writes_what_it_should(home, tmp_path):
    user = home / ".config/r2lm/config.ini"
    config = lambda *words, **more: r2lm("config", *words, **more)
    config("set", "temp", "0.3")
    assert user.read_text() == "temp = 0.3\n" and stat.S_IMODE(user.stat().st_mode) == 0o600 and stat.S_IMODE(user.parent.stat().st_mode) == 0o700
    user.write_text("; mine\n  temp=0.3 \n\n[run]\nsystem = be brief\n# end")
    config("set", "temp", "0.5")
    config("set", "run.predict", "9")
    config("set", "chat.system", " with spaces ")
    config("set", "top-k", "4")
    assert user.read_text() == '; mine\ntemp = 0.5\n\ntop-k = 4\n[run]\nsystem = be brief\n# end\npredict = 9\n\n[chat]\nsystem = " with spaces "\n'
    assert config("get", "chat.system").out == " with spaces \n"
    config("unset", "run.predict")
    config("unset", "temp")
    assert user.read_text() == '; mine\n\ntop-k = 4\n[run]\nsystem = be brief\n# end\n\n[chat]\nsystem = " with spaces "\n'
    config("unset", "temp", code=DATA)
    config("set", "--local", "threads", 1, cwd=tmp_path)
    assert (tmp_path / "r2lm.ini").read_text() == "threads = 1\n"
    before = user.read_text()
    for words, near in ((("set", "tempp", "1"), "temp"), (("set", "temp", "hot"), "temp"), (("set", "rnu.temp", "1"), "command"), (("set", "temp"), "expected"), (("get",), "expected"),
                        (("set", "system", "a\nb"), "one line"), (("set", "think", "medium"), "low"), (("set", "bench.system", "x"), "bench.system"), (("frobnicate",), "expected"), (("set", "help", "1"), "help"), (("set", "force", "1"), "force")):
        assert near in one_line(config(*words, code=USAGE).err)
    target = tmp_path / "kept.ini"          # a link stays a link
    target.write_text("temp = 1\n")
    user.unlink()
    user.symlink_to(target)
    config("set", "temp", "2")
    assert target.read_text() == "temp = 2\n" and user.is_symlink() and before


def test_the_systems_settings_are_for_all(tmp_path, home):
    system, env = tmp_path / "etc" / "r2lm" / "config.ini", dict(R2LM_SYSTEM_CONFIG=str(tmp_path / "etc/r2lm/config.ini"))
    mode = lambda path: stat.S_IMODE(path.stat().st_mode)
    r2lm("config", "set", "--system", "threads", "1", env=env)
    assert mode(system) == 0o644 and mode(system.parent) == 0o755
    system.chmod(0o640)
    r2lm("config", "set", "--system", "threads", "2", env=env)
    assert mode(system) == 0o640                                         # what is there keeps its mode
    r2lm("config", "set", "threads", "1", env=dict(XDG_CONFIG_HOME=str(tmp_path / "own")))
    assert mode(tmp_path / "own/r2lm/config.ini") == 0o600 and mode(tmp_path / "own/r2lm") == 0o700
    assert "mean temp?" in r2lm("config", "set", "tmp", "1", code=USAGE).err


def test_settings_that_are_wrong(tmp_path):
    file = tmp_path / "bad.ini"
    def listed(text, code=OK, **env):
        file.write_bytes(text)
        return r2lm("list", code=code, env=dict(env, R2LM_SYSTEM_CONFIG=str(file)))
    for text in (b"temp 3\n", b"[run\n", b"= 3\n", b"a = " + b"x" * 5000, b"\0\n"):
        assert "bad.ini:1: expected" in one_line(listed(text, DATA).err)
        for words in (("version",), ("help",), ("run", "--help")):   # who repairs the file may need these
            told = r2lm(*words, env=dict(R2LM_SYSTEM_CONFIG=str(file)))
            assert told.out and "settings left out: " in one_line(told.err)
    said = listed(b"tempp = 1\n[run]\nstreams = 3\n[rnu]\ntemp = 1\n").err
    assert "bad.ini:1: tempp: no such flag; did you mean temp?" in said and "bad.ini:3: streams: no such flag of this command" in said and "[rnu]: no such command" in said
    assert "x" * 61 not in listed(b"x" * 200 + b" = \x1b[31m\n").err and "\x1b" not in listed(b"\x1bx = 3\n").err
    assert "is too large" in listed(b"# \n" * (1 << 19)).err
    assert "no regular file" in r2lm("list", env=dict(R2LM_SYSTEM_CONFIG="/dev/null")).err
    if os.geteuid() == 0:
        file.write_text("temp = x\n")
        os.chown(file, 12345, 12345)
        assert "another user: ignored" in r2lm("list", env=dict(R2LM_SYSTEM_CONFIG=str(file))).err


def test_unknown_variables_are_named():
    said = r2lm("run", "-m", TOY, "-p", "x", "-n", 1, env=dict(R2LM_TEMPP="1", R2LM_ZZZZZZZZZZZZ="1", R2LM_TOP_K="3", R2LM_TEMPERATURE="1")).err.splitlines()
    assert "r2lm: R2LM_TEMPP: no such variable; did you mean R2LM_TEMP?" in said and "r2lm: R2LM_ZZZZZZZZZZZZ: no such variable" in said
    assert len([l for l in said if "variable" in l]) == 2
    assert r2lm("list", "--quiet", env=dict(R2LM_TEMPP="1")).err == ""


# ---------------------------------------------------------------- thinking effort
def test_think_levels():
    def said(*flags, **env):
        return json.loads(r2lm("run", "-m", TOY, "-p", "x", "-n", 1100, "-c", 1200, "--temp", 0, "--json", *flags, env=env).out)["thinking_tokens"]
    assert said("--think=low") == said(R2LM_THINK="low") == 1024 and said("--think=low", "--budget", 5) == 5
    assert said("--think=max") > 1090 and said("--think") > 1090 and said("--think=high") > 1090
    assert said("--no-think") == said("--think=0") == said(R2LM_THINK="off") == 0
    r2lm("run", "-m", TOY, "-p", "x", "--think=medium", code=USAGE)
    out = r2lm("chat", "-m", TOY, "-n", 1100, "-c", 4000, "--temp", 0, "--json", stdin="/think low\nhi\n/think 3\nhi\n/nothink\nhi\n").out
    assert [json.loads(l)["thinking_tokens"] for l in out.splitlines()] == [1024, 3, 0]
    assert "low, high or max" in r2lm("chat", "-m", TOY, stdin="/think hard\n", code=USAGE).err


def test_template_is_told_the_effort(tmp_path):
    data = bytearray(open(TOY, "rb").read())
    at = data.find(b"tokenizer.chat_template") + len(b"tokenizer.chat_template") + 4
    n_bytes = struct.unpack_from("<Q", data, at)[0]
    template = b"{%- if reasoning_effort is defined %}{{ 'effort ' + reasoning_effort + '! ' }}{%- endif %}{%- for m in messages %}{{ m.content }}{%- endfor %}{# #}"
    data[at + 8:at + 8 + n_bytes] = template.replace(b"{# #}", b"{#" + b" " * (n_bytes - len(template) + 1) + b"#}")
    model = tmp_path / "told.gguf"
    model.write_bytes(data)
    tokens = lambda text: json.loads(r2lm("tokenize", "-m", TOY, "-p", text, "--json").out)["n_tokens"]
    for flag, seen in (("--think", "x"), ("--think=low", "effort low! x"), ("--think=max", "effort max! x")):
        assert json.loads(r2lm("run", "-m", model, "-p", "x", "-n", 1, "--json", flag).out)["prompt_tokens"] == tokens(seen)
    chat = r2lm("chat", "-m", model, "-n", 1, "--json", stdin="/think high\nx\n").out
    assert json.loads(chat)["prompt_tokens"] == tokens("effort high! x")


# ---------------------------------------------------------------- bad models
def damaged(tmp_path, edit):
    data = bytearray(open(TOY, "rb").read())
    data = edit(data)
    path = tmp_path / "bad.gguf"
    path.write_bytes(bytes(data))
    return path


def replaced(data, old, new):
    at = data.find(old)
    assert at >= 0 and len(old) == len(new)
    data[at:at + len(old)] = new
    return data


@pytest.mark.parametrize("edit", [
    lambda d: d[:5000], lambda d: d[:-100], lambda d: d[:20], lambda d: b"", lambda d: b"GGUF", lambda d: b"not a model at all",
    lambda d: d[:8] + struct.pack("<Q", 1 << 60) + d[16:], lambda d: d[:4] + struct.pack("<I", 77) + d[8:],
    lambda d: replaced(d, b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0zebra"), lambda d: replaced(d, b"token_embd.weight", b"token_ambd.weight")])
@pytest.mark.parametrize("command", [["run", "-p", "x"], ["show"], ["bench"], ["chat"]])
def test_damaged_models(tmp_path, edit, command):
    done = r2lm(*command, "-m", damaged(tmp_path, edit), code=DATA)
    assert "bad.gguf" in one_line(done.err)
    assert done.out == "" and len(done.err.splitlines()) <= 2


def test_missing_models(tmp_path):
    for name in ("nothing", "no/such/file.gguf", "nothing.gguf"):
        done = r2lm("run", "-m", name, "-p", "x", code=DATA)
        assert name in one_line(done.err) and "r2lm list" in done.err
    assert "no model given" in one_line(r2lm("run", "-p", "x", code=DATA).err)
    said = json.loads(r2lm("show", "nothing", "--json", code=DATA).out)
    assert said["error"]["code"] == "R2_E_NOT_FOUND" and said["error"]["exit_code"] == DATA
    assert "tmp" in one_line(r2lm("ppl", "-m", TOY, "-f", tmp_path / "none", code=DATA).err)


def test_folder_complains_about_its_configuration_first(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(dict(model_type="zebra", hidden_act="silu")))
    assert "zebra" in one_line(r2lm("show", tmp_path, code=DATA).err)
    shutil.copy(os.path.join(SOURCE, "tests", "golden", "llama", "config.json"), tmp_path)
    assert "safetensors" in one_line(r2lm("show", tmp_path, code=DATA).err)


def test_full_context():
    done = r2lm("run", "-m", TOY, "-p", "word " * 600, code=MEMORY)
    assert "-c" in done.err
    r2lm("run", "-m", TOY, "-p", "word " * 30, "-c", 16, code=MEMORY)


def test_prompt_that_is_no_text():
    assert "UTF-8" in one_line(r2lm("run", "-m", TOY, stdin=b"\xff\xfe", code=DATA).err)
    assert "zero byte at byte 1" in one_line(r2lm("run", "-m", TOY, stdin=b"a\0b", code=DATA).err)
    r2lm("run", "-m", TOY, "--raw", "-n", "1", stdin=b"a\0b")
    done = r2lm("chat", "-m", TOY, "-n", "1", stdin=b"a\0b\n", code=DATA)
    assert "zero byte at byte 1" in one_line(done.err) and done.out == ""


def test_errors_name_the_likely_mistake():
    done = r2lm("run", "What is a hash table?", code=USAGE)
    assert "taken as the model" in one_line(done.err)
    assert "behind -p" in r2lm("run", "What is this?", stdin="text", code=DATA).err
    done = r2lm("run", "-m", TOY, "-f", "/nonexistent", code=DATA)
    assert "r2lm list" not in done.err       # the model is not what is missing
    assert "expected a file, found a folder" in one_line(r2lm("run", "-m", TOY, "-f", "/tmp", code=DATA).err)
    assert "no models here" in r2lm("list").err
    assert 'found "more"' in one_line(r2lm("list", "more", code=USAGE).err)


# ---------------------------------------------------------------- full disk
def test_standard_output_on_a_full_disk():
    with open("/dev/full", "w") as full:
        for command in (["help"], ["run", "-m", TOY, "-p", "x", "-n", "3"], ["list", "--json"]):
            done = subprocess.run([PROGRAM, *command], stdout=full, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60)
            assert done.returncode == FAILED and b"standard output" in done.stderr, command


def test_saving_on_a_full_disk_leaves_nothing(tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    kept = tmp_path / "talk.json"
    kept.write_text("before")
    done = r2lm("chat", "-m", TOY, "-n", 20, stdin=f"hello\n/save {kept}\n", code=FAILED, preexec_fn=limit)
    assert "talk.json" in done.err and kept.read_text() == "before" and os.listdir(tmp_path) .count("talk.json") == 1
    assert [n for n in os.listdir(tmp_path) if n.startswith("talk.json.")] == []


# ---------------------------------------------------------------- other commands
@pytest.mark.parametrize("command", [["list"], ["show", TOY], ["tokenize", "-m", TOY, "-p", "x"], ["version"], ["help"], ["licenses"], ["doctor"], ["plan", TOY, "--no-measure"]])
def test_json_is_one_object(command):
    assert isinstance(json.loads(r2lm(*command, "--json").out), dict)


def test_tokenize():
    said = json.loads(r2lm("tokenize", "-m", TOY, "-p", "the <|im_end|>\n", "--json").out)
    assert "".join(said["texts"]) == "the <|im_end|>\n" and said["n_tokens"] == len(said["tokens"]) > 8
    special = json.loads(r2lm("tokenize", "-m", TOY, "-p", "the <|im_end|>\n", "--json", "--special").out)
    assert special["texts"] == ["the", " ", "<|im_end|>", "\n"]
    assert r2lm("tokenize", TOY, stdin="the").out == f"{special['tokens'][0]}\n"


def test_tokenize_needs_the_tokenizer_alone(tmp_path):
    r2lm("convert", TOY, tmp_path / "toy")
    (tmp_path / "bare").mkdir()
    assert "tokenizer.json" in one_line(r2lm("tokenize", "-m", tmp_path / "bare", "-p", "a", code=DATA).err)
    (tmp_path / "toy/tokenizer.json").rename(tmp_path / "bare/tokenizer.json")
    assert r2lm("tokenize", "-m", tmp_path / "bare", "-p", "the thing").out == r2lm("tokenize", "-m", TOY, "-p", "the thing").out
    assert "config.json" in one_line(r2lm("run", "-m", tmp_path / "bare", "-p", "a", code=DATA).err)


def test_perplexity(tmp_path):
    text = tmp_path / "text"
    text.write_text("the thing on a hill " * 40)
    said = json.loads(r2lm("ppl", "-m", TOY, "-f", text, "-c", 64, "--json").out)
    n_windows = said["n_tokens"] // 64
    assert (said["n_windows"], said["n_scored"]) == (n_windows, n_windows * 31) and n_windows > 2 and said["perplexity"] > 1
    ids = json.loads(r2lm("tokenize", "-m", TOY, "-f", text, "--json").out)
    n_start = said["n_tokens"] - ids["n_tokens"]                     # a start token, if the model wants one
    scored = [t for w in range(n_windows) for t in ids["texts"][64 * w + 33 - n_start:64 * (w + 1) - n_start]]
    assert said["bits_per_byte"] * len("".join(scored)) == pytest.approx(math.log2(said["perplexity"]) * said["n_scored"])
    ref = json.loads(r2lm("ppl", "-m", TOY, "-f", text, "-c", 64, "--json", "--cpu", "ref").out)
    assert abs(ref["perplexity"] / said["perplexity"] - 1) < 0.02    # BF16 products against double sums
    r2lm("ppl", "-m", TOY, "-f", text, code=USAGE, env=dict(R2LM_CTX_SIZE="100000"))


def test_bench():
    said = json.loads(r2lm("bench", "-m", TOY, "-p", 32, "-n", 8, "--streams", 3, "--depth", 40, "-t", 1, "--repeat", 1, "--long-prompt", 300, "--json").out)
    for key in ("prefill_tok_s", "decode_tok_s", "batch_decode_tok_s", "bytes_per_token", "read_gb_s", "share_of_bandwidth", "start_to_first_token_ms",
                "long_prompt_cold_ms", "long_prompt_cached_ms", "peak_rss_mb"):
        assert said[key] > 0, key
    assert (said["streams"], said["depth"], said["threads"]) == (3, 40, 1) and said["cpu_level"] in ("portable", "avx2", "avx512", "amx")
    assert said["peak_rss_mb"] < 400       # the bandwidth's buffer is not ours


def test_plan(tmp_path):
    config = os.path.join(SOURCE, "tests", "golden", "deepseek_r1_config.json")
    said = json.loads(r2lm("plan", config, "--type", "Q4_K_M", "--streams", 4, "-c", 1000, "--memory", 1000, "--json").out)
    assert said["parameters"] // 10**9 == 671 and said["cache_bytes_per_token"] == 70272 and said["fit"] == "packed" and said["is_assumed"]
    assert said["cache_bytes"] == 4 * 1024 * 70272 and sum(p["bytes"] for p in said["parts"].values()) == said["weight_bytes"]
    for key in ("read_gb_s", "products_gops", "decode_tok_s", "batch_decode_tok_s", "prefill_tok_s"): assert said[key] > 0, key
    small = json.loads(r2lm("plan", config, "--type", "Q4_K_M", "--memory", 20, "--no-measure", "--cache-type", "q8", "--json").out)
    assert small["fit"] == "no" and small["longest_context"] == 0 and small["decode_tok_s"] == 0 and small["cache_bytes_per_token"] == 35136 * 34 // 32
    text = r2lm("plan", config, "--no-measure", "--memory", 20).out
    assert "671.0 billion" in text and "36.6 billion" in text and "does not fit" in text and "70272 bytes per token" in text
    folder = tmp_path / "only-config"       # a folder that has no weights yet
    folder.mkdir()
    shutil.copy(config, folder / "config.json")
    assert json.loads(r2lm("plan", folder, "--no-measure", "--json").out)["types"] == "F8_E4M3 99 %, BF16 1 %"
    toy, shown = (json.loads(r2lm(*c, TOY, "--json").out) for c in (["plan", "--no-measure"], ["show"]))
    assert not toy["is_assumed"] and toy["fit"] == "packed" and toy["cache_bytes_per_token"] == shown["cache_bytes_per_token"]
    for type in ("Q4_K_M", "Q8_0", "IQ4_XS"):      # what it says before is what quantize writes
        r2lm("quantize", TOY, tmp_path / "small.gguf", "--type", type, "--no-measure", "--force", "--quiet")
        before, after = (json.loads(r2lm("plan", *c, "--no-measure", "--json").out) for c in ((TOY, "--type", type), (tmp_path / "small.gguf",)))
        for key in ("weight_bytes", "bytes_per_token", "parts", "types", "packed_bytes"): assert before[key] == after[key], (type, key)
    assert "Q9" in one_line(r2lm("plan", config, "--type", "Q9", code=USAGE).err)
    (folder / "config.json").write_text("{")
    assert "config.json" in one_line(r2lm("plan", folder, code=DATA).err)


def test_list_finds_models_where_they_lie(home, tmp_path):
    cache = home / ".cache"
    places = [cache / "r2lm/models/mine.gguf", cache / "llama.cpp/other.gguf", tmp_path / "folder/deep/third.gguf",
              cache / "huggingface/hub/models--org--name/snapshots/abc/model-Q4.gguf"]
    for place in places:
        place.parent.mkdir(parents=True)
        shutil.copy(TOY, place)
    (cache / "llama.cpp/big-00002-of-00002.gguf").write_bytes(b"x")
    folder = cache / "huggingface/hub/models--org--safe/snapshots/abc"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"12345678")
    ollama, digest = home / ".ollama/models", "ab" * 32
    manifest = ollama / "manifests/registry.ollama.ai/library/toy/1b"
    manifest.parent.mkdir(parents=True)
    layer = dict(mediaType="application/vnd.ollama.image.model", digest="sha256:" + digest)
    manifest.write_text(json.dumps(dict(layers=[dict(mediaType="x"), layer])))
    (manifest.parent / "evil").write_text(json.dumps(dict(layers=[dict(layer, digest="sha256:../../../../etc/passwd")])))
    (ollama / "blobs").mkdir()
    shutil.copy(TOY, ollama / f"blobs/sha256-{digest}")
    models = {m["name"]: m for m in json.loads(r2lm("list", "--json", env=dict(R2LM_MODELS=str(tmp_path / "folder"))).out)["models"]}
    assert set(models) == {"mine", "other", "third", "org/name:model-Q4", "org/safe", "toy:1b"}
    assert models["mine"]["bytes"] == os.path.getsize(TOY) and models["org/safe"]["bytes"] == 8
    for name in ("mine", "MINE", "oth", "toy:1b", "org/name:model-Q4", "name"):
        assert json.loads(r2lm("show", name, "--json").out)["name"] == "toy", name
    shutil.copy(TOY, cache / "r2lm/models/mint.gguf")
    assert "2 models" in one_line(r2lm("show", "min", code=DATA).err)
    assert r2lm("list", "--quiet").out.splitlines()[0] == "mine"


def test_names_with_escapes_are_harmless(home):
    folder = home / ".cache/r2lm/models"
    folder.mkdir(parents=True)
    shutil.copy(TOY, folder / "a\x1b]0;x\x07b.gguf")
    assert "\x1b" not in r2lm("list").out


# ---------------------------------------------------------------- help, man page, completions
def test_help_is_short_and_complete():
    text = r2lm("--help").out
    assert len(text.splitlines()) <= 40 and max(map(len, text.splitlines())) <= 110
    for command in COMMANDS:
        assert re.search(rf"^  {command}\b", text, flags=re.M), command
        assert f"r2lm {command}" in r2lm("help", command).out == r2lm(command, "--help").out or command == "help"
    r2lm("help", "nothing", code=USAGE)


def test_help_of_a_subcommand_shows_what_it_heeds():
    def flags(text): return set(re.findall(r"^ +(?:-\w, )?--(?:\[no-\])?([\w-]+)", text, flags=re.M))
    every = r2lm("help", "train").out
    always = every.split("\nalways:\n")[1]
    assert flags(always) == {"json", "color", "verbose", "quiet", "help"}     # a flag of train stands in a group of option_groups.c
    own = {name: r2lm("help", "train", name).out for name in ("init", "pretrain", "sft", "distill", "grpo", "dpo", "export")}
    assert own["sft"] == r2lm("train", "sft", "--help").out and "usage: r2lm train sft" in own["sft"]
    assert set.union(*map(flags, own.values())) == flags(every)
    assert len(re.findall(r"^ +(?:-\w, )?--", every, flags=re.M)) == len(flags(every))   # each of them once
    assert "teacher" in flags(own["distill"]) - flags(own["sft"]) and "lr" in flags(own["sft"]) - flags(own["init"])
    assert "r2lm help train" in r2lm("help", "train", "nothing", code=USAGE).err


def test_man_page():
    page = r2lm("help", "--man").out
    assert page.startswith(".TH R2LM 1")
    for command in COMMANDS: assert f".SS r2lm {command}" in page
    assert "R2LM_CTX_SIZE" in page and r"\-\-top\-k" in page
    if not shutil.which("man") or not shutil.which("groff"): pytest.skip("no man program")
    done = subprocess.run(["man", "-l", "--warnings", "-E", "UTF-8", "-"], input=page.encode(), capture_output=True, env=dict(os.environ, MANWIDTH="100"))
    assert done.returncode == 0 and done.stderr == b""


def test_completions_know_the_command(tmp_path):
    script = tmp_path / "r2lm.bash"
    script.write_text(r2lm("completion", "bash").out)
    def offered(*words):
        line = " ".join(f"'{w}'" for w in words)
        ask = f"source '{script}'; COMP_WORDS=(r2lm {line}); COMP_CWORD={len(words)}; _r2lm; echo \"${{COMPREPLY[@]}}\""
        return subprocess.run(["bash", "-c", ask], capture_output=True, text=True).stdout.split()
    assert offered("convert", "--type", "") == ["keep", "f32", "f16", "bf16"] and "keep" not in offered("quantize", "--type", "")
    assert offered("run", "--cache-type", "") == ["bf16", "f16", "q8"] and "f32" in offered("plan", "--cache-type", "")
    assert offered("config", "")[:4] == ["list", "get", "set", "unset"] and offered("completion", "")[:3] == ["bash", "zsh", "fish"]
    assert offered("tokenizer", "")[0] == "train" and offered("help", "qu") == ["quantize"] and offered("show", "")[0].startswith("--")


def test_what_is_far_from_every_flag_is_no_slip():
    said = one_line(r2lm("chat", "--nope", code=USAGE).err)
    assert "did you mean" not in said and "--help" in said


def test_completions(tmp_path):
    text = r2lm("completion", "bash").out
    assert subprocess.run(["bash", "-n"], input=text.encode()).returncode == 0
    script = text + '\nCOMP_WORDS=(r2lm run --te) COMP_CWORD=2; _r2lm; echo "${COMPREPLY[@]}"; COMP_WORDS=(r2lm be) COMP_CWORD=1; _r2lm; echo "${COMPREPLY[@]}"'
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True).stdout.split() == ["--temp", "bench"]
    for shell in ("zsh", "fish"):
        text = r2lm("completion", shell).out
        assert "--top-k" in text or "-l top-k" in text
        if shutil.which(shell): assert subprocess.run([shell, "-n"], input=text.encode()).returncode == 0
    r2lm("completion", "tcsh", code=USAGE)
    r2lm("completion", code=USAGE)


# ---------------------------------------------------------------- chat
def test_chat_reads_lines_from_a_pipe(tmp_path):
    kept = tmp_path / "talk.json"
    lines = ["/nothink", "/system be brief", "hello", '"""one', 'two"""', f"/save {kept}", "/ctx", "/regen", "/undo", "/stats", f"/load {kept}", "/clear", "/exit", "never"]
    done = r2lm("chat", "-m", TOY, "-n", 4, "--temp", 0, stdin="\n".join(lines) + "\n")
    assert done.out.splitlines() == ["an" * 4] * 3
    messages = json.loads(kept.read_text())["messages"]
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user", "assistant"]
    assert messages[3]["content"] == "one\ntwo" and messages[1]["content"] == "hello"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert not re.search(r"\x1b", done.err)


def test_chat_think_budget_and_files(tmp_path):
    file = tmp_path / "file"
    file.write_text("text of a file")
    out = r2lm("chat", "-m", TOY, "-n", 12, "--temp", 0, "--json", stdin=f"/think 3\nhi\n/read {file}\nwhat is it?\n").out.splitlines()
    first, second = map(json.loads, out)
    assert first["thinking_tokens"] == second["thinking_tokens"] == 3 and first["text"] == "an" * 8
    assert second["prompt_tokens"] > first["prompt_tokens"] + 14


def test_chat_refuses_bad_files_and_words(tmp_path):
    bad = tmp_path / "bad.json"
    for text in ("", "{", "[1]", '{"messages": [{"role": "root", "content": "x"}]}', '{"messages": [{"role": "user"}]}', "[" * 100000):
        bad.write_text(text)
        assert "bad.json" in r2lm("chat", "-m", TOY, stdin=f"/load {bad}\n", code=DATA).err
    r2lm("chat", "-m", TOY, stdin="/load /no/such/file\n", code=DATA)
    r2lm("chat", "-m", TOY, stdin="/save /no/such/folder/file\n", code=FAILED)
    r2lm("chat", "-m", TOY, stdin="/save /dev/full\n", code=USAGE)
    assert "/help" in r2lm("chat", "-m", TOY, stdin="/hepl\n", code=USAGE).err
    assert r2lm("chat", "-m", TOY, stdin="").out == ""


def test_chat_edits_and_lists(tmp_path):
    kept, editor = tmp_path / "talk.json", tmp_path / "editor"
    editor.write_text('#!/bin/sh\ntest "$1" = --flag && sed -i s/hello/farewell/ "$2"\n')
    editor.chmod(0o755)
    flags = ["chat", "-m", TOY, "-n", 4, "--temp", 0, "--no-think"]
    lines = ["/list", "/edit", "hello\x1b friend", "/edit", f"/save {kept}", "/list", "/edit quite another", f"/save {kept}2", "/stats"]
    done = r2lm(*flags, stdin="\n".join(lines) + "\n", env=dict(EDITOR=f"{editor} --flag", TMPDIR=str(tmp_path)))
    said = lambda path: [m["content"] for m in json.loads(open(path).read())["messages"]]
    assert said(kept) == ["farewell\x1b friend", "an" * 4] and said(f"{kept}2") == ["quite another", "an" * 4]
    assert done.out.splitlines() == ["an" * 4] * 3 and "nothing was said yet" in done.err and "nothing to edit" in done.err
    assert re.search(r"^  1 user      farewell friend$", done.err, flags=re.M) and "3 answers" in done.err and "full pages" in done.err
    assert sorted(os.listdir(tmp_path)) == ["editor", "home", "talk.json", "talk.json2"]
    done = r2lm(*flags, stdin=f"hello\n/edit\n/save {kept}\n", env=dict(EDITOR="false"), code=FAILED)
    assert "editor" in done.err and said(kept) == ["hello", "an" * 4]


class Terminal:
    """The program on a pseudo terminal; standard output too unless `out` is given."""
    def __init__(self, *arguments, **env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(env)
            os.execv(PROGRAM, [PROGRAM, *map(str, arguments)])
        self.text = ""

    def expect(self, pattern, seconds=30):
        """The text up to the pattern's end."""
        end = time.time() + seconds
        while not (found := re.search(pattern, self.text)):
            if time.time() > end: raise AssertionError(f"{pattern!r} not in {self.text!r}")
            if not select.select([self.fd], [], [], 0.2)[0]: continue
            try: data = os.read(self.fd, 65536)
            except OSError: data = b""
            if not data and not re.search(pattern, self.text): raise AssertionError(f"ended before {pattern!r}: {self.text!r}")
            self.text += data.decode(errors="replace")
        seen, self.text = self.text[:found.end()], self.text[found.end():]
        return seen

    def send(self, text): os.write(self.fd, text.encode())

    def end(self, key=""):
        """The exit code; `key` is typed twice a second until then, for one typed too early is lost."""
        deadline, typed = time.time() + 30, 0
        while time.time() < deadline:
            if key and time.time() - typed > 0.5:
                typed = time.time()
                self.send(key)
            if select.select([self.fd], [], [], 0.05)[0]:
                try: self.text += os.read(self.fd, 65536).decode(errors="replace")
                except OSError: pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError(f"did not end: {self.text!r}")


def test_chat_on_a_terminal(home):
    t = Terminal("chat", "-m", TOY, "-n", 12, "--temp", 0, "--budget", 4)
    t.expect("/help lists")
    t.expect("> ")
    t.send("hello\n")
    seen = t.expect(r"(an){7}\r\n")
    assert re.search(r"thought for \d+\.\d s, 4 tokens", seen)
    t.expect("> ")
    t.send("/think 2\n")
    t.expect("at most 2 tokens")
    t.expect("> ")
    assert t.end("\x04") == OK
    history = home / ".local/state/r2lm/history"
    assert "hello" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600 and stat.S_IMODE(history.parent.stat().st_mode) == 0o700


def test_a_key_ends_the_thoughts():
    t = Terminal("chat", "-m", TOY, "-n", 30000, "-c", 32768, "--temp", 0, "-t", 1)
    t.expect("> ")
    t.send("hello\n")
    t.expect("thinking for")
    t.send("\x14")
    t.expect(r"thought for \d+\.\d s, \d+ tokens[^\n]*\n(an)+")
    t.send("\x03")
    t.expect(r"\[stopped\]")
    t.expect("> ")
    assert t.end("\x04") == OK


def test_chat_interrupted_at_the_prompt_twice():
    t = Terminal("chat", "-m", TOY, "-n", 4)
    t.expect("> ")
    t.send("\x03")
    t.expect("again")
    assert t.end("\x03") == 130


def test_help_is_a_man_page_on_a_terminal(tmp_path):
    t = Terminal("help", "run", PAGER="cat", MANPAGER="cat")
    assert t.end() == OK and "--temp" in re.sub(".\x08", "", t.text.replace("\u2010", "-"))
    none = tmp_path / "bin"
    none.mkdir()
    t = Terminal("help", "run", PAGER="/bin/cat", PATH=str(none))    # no man, no shell by name: as it is
    assert t.end() == OK and "usage: r2lm run" in t.text
    (none / "sh").symlink_to("/bin/sh")
    t = Terminal("help", "run", PAGER="echo paged; /bin/cat", PATH=str(none))
    assert t.end() == OK and "paged" in t.text and "usage: r2lm run" in t.text
    assert ".SH SYNOPSIS" in r2lm("help", "--man", "run").out and "R2LM\\-RUN" not in r2lm("help", "--man").out


def test_colours():
    def seen(*flags, **env):
        t = Terminal("run", "-m", TOY, "-p", "x", "-n", "6", "--temp", "0", "--budget", "2", *flags, **env)
        t.end()
        return t.text
    assert "\x1b[2m" in seen()
    assert "\x1b" not in seen(NO_COLOR="1")
    assert "\x1b" not in seen(TERM="dumb")
    assert "\x1b" not in seen("--color=never")
    assert "\x1b[2m" in seen("--color", "always", NO_COLOR="1")
    done = r2lm("run", "-m", TOY, "-p", "x", "-n", 6, "--budget", 2, "--no-hide-thinking", env=dict(CLICOLOR_FORCE="1"))
    assert "\x1b[2m" in done.err and "\x1b" not in done.out


def test_control_characters_do_not_reach_a_terminal():
    """Byte tokens of all kinds, drawn at random: a terminal gets none that could be an escape sequence."""
    flags = ["run", "-m", TOY, "-p", "x", "-n", "600", "--raw", "--color=never", "--ignore-eos", "--temp", "100", "--top-p", "1", "--min-p", "0", "--seed", "1"]
    plain = r2lm(*flags).stdout
    assert re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", plain)      # the model does write them
    t = Terminal(*flags)
    assert t.end() == OK
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]", t.text)


# ---------------------------------------------------------------- adapters
GOLDEN = os.path.join(SOURCE, "tests", "golden")


def test_show_explains_an_adapter():
    said = r2lm("show", os.path.join(GOLDEN, "lora_llama")).out
    assert "adapter (LoRA)" in said and "28 matrices" in said and "q_proj" in said and "up to 6, alpha 9" in said
    info = json.loads(r2lm("show", os.path.join(GOLDEN, "lora_llama", "adapter.gguf"), "--json").out)
    assert (info["kind"], info["rank"], info["matrices"], info["base"]) == ("adapter", 6, 28, "llama")


def test_adapters_by_flag(tmp_path):
    model, adapter = os.path.join(GOLDEN, "llama"), os.path.join(GOLDEN, "lora_llama")
    short = ["-p", 4, "-n", 2, "--streams", 2, "-r", 1, "-t", 1]
    for path in (adapter, adapter + ":0.5", adapter + "/adapter.gguf:-2", adapter + ":0"): r2lm("bench", model, "--lora", path, *short)
    assert "scale" in one_line(r2lm("bench", model, "--lora", adapter + ":2000", *short, code=USAGE).err)
    assert "expected 104 columns and 56 rows, found 80 and 48" in one_line(r2lm("bench", os.path.join(GOLDEN, "qwen2"), "--lora", adapter, *short, code=DATA).err)
    assert "found an adapter" in one_line(r2lm("bench", adapter, *short, code=DATA).err)
    one_line(r2lm("bench", model, "--lora", tmp_path / "nowhere", *short, code=DATA).err)
    done = r2lm("chat", TOY, "-n", 1, stdin=f"/lora {adapter}\n/lora off\n", code=DATA)
    assert "the model alone answers" in done.err
