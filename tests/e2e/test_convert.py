"""r2lm convert and r2lm verify from outside: what they write, what they refuse, and that nothing half-written stays behind."""
import hashlib, json, os, resource, shutil, struct
import pytest
from cli_client import DATA, MEMORY, OK, SOURCE, TOY, USAGE, home, one_line, r2lm, refused   # noqa: F401  (fixtures)

GOLDEN = os.path.join(SOURCE, "tests", "golden")


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def header(path):
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        return json.loads(f.read(n)), 8 + n


def copy_case(name, to):
    shutil.copytree(os.path.join(GOLDEN, name), to)
    return to


# ---------------------------------------------------------------- convert
def test_folder_and_back_answer_alike(work):
    r2lm("convert", TOY, work / "toy")
    assert set(os.listdir(work / "toy")) == {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    r2lm("convert", work / "toy", work / "again.gguf", "-t", 1)
    said = [r2lm("run", "-m", m, "-p", "Hello", "-n", 12, "--temp", 0, "--json").out for m in (TOY, work / "toy", work / "again.gguf")]
    texts = [{k: v for k, v in json.loads(s).items() if k in ("text", "thinking", "prompt_tokens", "completion_tokens")} for s in said]
    assert texts[0] == texts[1] == texts[2] and texts[0]["thinking"]
    for flags in ([], ["--special"]):
        ids = {r2lm("tokenize", m, *flags, "-p", "Über <|im_end|> 12 x").out for m in (TOY, work / "toy", work / "again.gguf")}
        assert len(ids) == 1


def test_shards(work):
    r2lm("convert", TOY, work / "toy", "--shard-size", 0.00005)
    index = json.load(open(work / "toy" / "model.safetensors.index.json"))
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 2 and files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    total = 0
    for name in files:
        tensors, start = header(work / "toy" / name)
        tensors.pop("__metadata__")
        assert set(tensors) == {k for k, v in index["weight_map"].items() if v == name}
        total += os.path.getsize(work / "toy" / name) - start
    assert total == index["metadata"]["total_size"]
    r2lm("convert", work / "toy", work / "again.gguf")
    r2lm("verify", work / "again.gguf")


@pytest.mark.parametrize("type, dtype", [("f32", "F32"), ("f16", "F16"), ("bf16", "BF16"), ("keep", "F32")])
def test_types(work, type, dtype):
    r2lm("convert", TOY, work / "toy", "--type", type)
    tensors, _ = header(work / "toy" / "model.safetensors")
    assert tensors["model.layers.0.self_attn.q_proj.weight"]["dtype"] == dtype
    assert tensors["model.norm.weight"]["dtype"] == "F32"
    r2lm("verify", work / "toy", "--no-checksums")


def test_fp8_becomes_bf16(work):
    out = work / "x.gguf"
    r2lm("convert", os.path.join(GOLDEN, "deepseek_v3_fp8"), out)
    assert "BF16" in json.loads(r2lm("show", out, "--json").out)["weight_types"]


def sentencepiece():
    """A tokenizer in the manner of Llama 2: spaces become marks, unknown characters bytes."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in (9, 10, 0xC3, 0xA9)] + ["\u2581"] + [chr(c) for c in range(97, 123)]
    longer = "\u2581t he \u2581the in ing \u2581a an \u2581an \u2581th er".split()     # the better first
    tokens += longer
    merges = [f"{t[:i]} {t[i:]}" for t in longer for i in range(1, len(t)) if t[:i] in tokens and t[i:] in tokens]
    special = lambda i, text: dict(id=i, content=text, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    return dict(version="1.0", added_tokens=[special(i, t) for i, t in enumerate(tokens[:3])],
                normalizer=dict(type="Sequence", normalizers=[dict(type="Prepend", prepend="\u2581"), dict(type="Replace", pattern=dict(String=" "), content="\u2581")]),
                pre_tokenizer=None, post_processor=None, decoder=dict(type="Sequence", decoders=[dict(type="ByteFallback"), dict(type="Fuse")]),
                model=dict(type="BPE", dropout=None, unk_token="<unk>", continuing_subword_prefix=None, end_of_word_suffix=None, fuse_unk=True, byte_fallback=True,
                           vocab={t: i for i, t in enumerate(tokens)}, merges=merges))


def test_sentencepiece_to_gguf(work):
    folder = copy_case("llama", work / "spm")
    (folder / "tokenizer.json").write_text(json.dumps(sentencepiece()))
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", add_bos_token=True)))
    r2lm("convert", folder, work / "spm.gguf")
    r2lm("convert", work / "spm.gguf", work / "back")
    for text in ("the thing", "an other ringing\n", "caf\u00e9 in a tin", "  inner  ant ", "<s>the"):
        ids = {r2lm("tokenize", m, "--special", "-p", text).out for m in (folder, work / "spm.gguf", work / "back")}
        assert len(ids) == 1 and len(ids.pop().split()) > 1, text
    merges = lambda where: [m if isinstance(m, str) else " ".join(m) for m in json.load(open(where / "tokenizer.json"))["model"]["merges"]]
    assert merges(work / "back") == merges(folder)


def test_existing_output(work):
    out = work / "toy"
    r2lm("convert", TOY, out)
    (out / "mine").write_text("x")
    refused("convert", TOY, out, folder=work, code=USAGE, says="exists already")
    assert (out / "mine").exists()
    assert "--force" in r2lm("convert", TOY, out, code=USAGE).err
    r2lm("convert", TOY, out, "--force")                       # a model folder may go
    assert not (out / "mine").exists() and os.listdir(work) == ["toy"]
    gguf = work / "x.gguf"
    gguf.write_text("mine")
    refused("convert", out, gguf, folder=work, code=USAGE)
    assert gguf.read_text() == "mine"
    r2lm("convert", out, gguf, "--force")
    assert gguf.read_bytes()[:4] == b"GGUF"


def test_force_spares_other_folders(work):
    other = work / "documents"
    other.mkdir()
    (other / "letter").write_text("dear")
    refused("convert", TOY, other, "--force", folder=work, code=USAGE, says="config.json")
    (other / "config.json").write_text("{}")
    (other / "more").mkdir()
    refused("convert", TOY, other, "--force", folder=work, code=USAGE)
    assert (other / "letter").read_text() == "dear"


def test_bad_input(work):
    refused("convert", TOY, folder=work, code=USAGE)
    refused("convert", TOY, work / "no" / "such", folder=work, says="no such folder")
    refused("convert", work / "none.gguf", work / "x", folder=work)
    refused("convert", TOY, work / "x", "--type", "q4_0", folder=work, code=USAGE)
    bad = copy_case("qwen2", work / "bad")
    config = json.load(open(bad / "config.json"))
    for change, says in ((dict(model_type="gpt_neox"), "model_type"), (dict(num_hidden_layers=9), "is missing"), (dict(num_hidden_layers=1), "has no place"),
                         (dict(hidden_size=48), "expected ["), (dict(num_attention_heads="x"), "num_attention_heads"), (dict(rope_scaling=dict(rope_type="longrope")), "longrope")):
        (bad / "config.json").write_text(json.dumps({**config, **change}))
        refused("convert", bad, work / "x.gguf", folder=work, says=says)
    (bad / "config.json").unlink()
    refused("convert", bad, work / "x.gguf", folder=work, says="config.json")
    (bad / "adapter_config.json").write_text("{}")
    refused("convert", bad, work / "x.gguf", folder=work, says="found an adapter")
    refused("convert", os.path.join(GOLDEN, "lora_llama", "adapter.gguf"), work / "x", folder=work, says="found an adapter")


def test_names_of_the_other_kind(work):
    refused("convert", TOY, work / "x.gguf", folder=work, code=USAGE, says="quantize")
    refused("convert", os.path.join(GOLDEN, "qwen2"), work / "x.safetensors", folder=work, code=USAGE, says="GGUF")


@pytest.mark.parametrize("key, value", [("kv_lora_rank", -1), ("n_routed_experts", 0), ("n_routed_experts", 1 << 40), ("num_experts_per_tok", 99), ("n_group", 5), ("topk_group", 99),
                                        ("kv_lora_rank", 7), ("qk_rope_head_dim", 7)])
def test_numbers_that_do_not_fit(work, key, value):
    bad = copy_case("deepseek_v3", work / "bad")
    config = json.load(open(bad / "config.json"))
    (bad / "config.json").write_text(json.dumps({**config, key: value}))
    refused("convert", bad, work / "x.gguf", folder=work)
    for command in ("show", "verify"): r2lm(command, bad, code=DATA)


def test_missing_shard(work):
    r2lm("convert", TOY, work / "toy", "--shard-size", 0.00005)
    (work / "toy" / sorted(f for f in os.listdir(work / "toy") if f.startswith("model-00002"))[0]).unlink()
    refused("convert", work / "toy", work / "x.gguf", folder=work, says="model-00002")


def edit_weights(folder, edit):
    path = os.path.join(folder, "model.safetensors")
    tensors, start = header(path)
    data = open(path, "rb").read()[start:]
    tensors, data = edit(tensors, data)
    text = json.dumps(tensors).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


def without(tensors, data, name):
    begin, end = tensors.pop(name)["data_offsets"]
    for t in tensors.values():
        if "data_offsets" in t and t["data_offsets"][0] >= end: t["data_offsets"] = [o - (end - begin) for o in t["data_offsets"]]
    return tensors, data[:begin] + data[end:]


@pytest.mark.parametrize("case, name", [("deepseek_v3_fp8", "model.layers.1.self_attn.o_proj.weight_scale_inv"), ("deepseek_v3", "model.layers.3.eh_proj.weight"),
                                        ("deepseek_v3", "model.layers.1.mlp.gate.e_score_correction_bias"), ("deepseek_v2", "model.layers.2.mlp.experts.7.up_proj.weight"), ("qwen2", "model.layers.0.self_attn.q_proj.bias")])
def test_missing_tensor(work, case, name):
    bad = copy_case(case, work / "bad")
    edit_weights(bad, lambda tensors, data: without(tensors, data, name))
    assert name in refused("convert", bad, work / "x.gguf", folder=work)


@pytest.mark.parametrize("name", ["model.layers.3.eh_proj.weight", "model.layers.3.input_layernorm.weight"])
def test_a_module_that_is_not_whole_may_stay_behind(work, name):
    bad = copy_case("deepseek_v3", work / "bad")
    edit_weights(bad, lambda tensors, data: without(tensors, data, name))
    for command in ("convert", "quantize"):
        said = r2lm(command, bad, work / "x.gguf", code=DATA).err
        assert name in said and "--no-mtp" in said and not (work / "x.gguf").exists()
    r2lm("convert", bad, work / "x.gguf", "--no-mtp")


def test_wrong_scales(work):
    bad = copy_case("deepseek_v3_fp8", work / "bad")
    def turn(tensors, data):
        tensors["model.layers.1.self_attn.o_proj.weight_scale_inv"]["shape"].reverse()
        return tensors, data
    edit_weights(bad, turn)
    refused("convert", bad, work / "x.gguf", folder=work, says="weight_scale_inv")
    def stack(tensors, data):
        tensors["model.layers.1.self_attn.o_proj.weight_scale_inv"]["shape"].append(1)
        return tensors, data
    edit_weights(bad, stack)
    refused("convert", bad, work / "x.gguf", folder=work, says="found 3 dimensions")


def test_scales_that_are_no_numbers(work):
    bad = copy_case("deepseek_v3_fp8", work / "bad")
    name = "model.layers.1.self_attn.o_proj.weight_scale_inv"
    def spoil(tensors, data):
        at = tensors[name]["data_offsets"][1] - 4
        return tensors, data[:at] + struct.pack("<f", float("nan")) + data[at + 4:]
    edit_weights(bad, spoil)
    refused("convert", bad, work / "x.gguf", folder=work, says=f"{name}[")


def test_full_disk(work):
    def limit(n): return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))
    for n in (100, 3000, 60000, 120000):
        refused("convert", TOY, work / "toy", folder=work, code=MEMORY, preexec_fn=limit(n))
        refused("convert", os.path.join(GOLDEN, "llama"), work / "x.gguf", folder=work, code=MEMORY, preexec_fn=limit(n))


def test_json_and_quiet(work):
    said = json.loads(r2lm("convert", TOY, work / "toy", "--json").out)
    assert said["output"] == str(work / "toy")
    assert r2lm("convert", TOY, work / "toy", "--force", "-q").err == ""
    failed = r2lm("convert", TOY, work / "toy", "--json", code=USAGE)
    assert json.loads(failed.out)["error"]["code"] == "R2_E_ARGUMENT"


# ---------------------------------------------------------------- verify
def sha256(path): return hashlib.sha256(open(path, "rb").read()).hexdigest()


def verify(path, *flags, code=OK): return json.loads(r2lm("verify", path, "--json", *flags, code=code).out)


def has_checksums(): return not "without OpenSSL" in r2lm("verify", TOY).err


needs_checksums = pytest.mark.skipif("not has_checksums()")


@pytest.mark.parametrize("case", ["llama", "qwen2", "qwen3", "qwen3_moe", "deepseek_v2", "deepseek_v3", "deepseek_v3_fp8"])
def test_good_models(case):
    for path in (os.path.join(GOLDEN, case), os.path.join(GOLDEN, case, "model.gguf")):
        if not os.path.exists(path): continue
        said = verify(path)
        assert said["ok"] and said["faults"] == [] and said["bad_tensors"] == 0 and said["values"] > 1000 and said["architecture"]


def test_values_that_are_no_numbers(work):
    bad = work / "bad.gguf"
    data = bytearray(open(TOY, "rb").read())
    data[-8:-4] = struct.pack("<f", float("nan"))
    bad.write_bytes(data)
    said = verify(bad, code=DATA)
    assert not said["ok"] and said["bad_tensors"] == 1 and "finite" in said["faults"][0]
    assert "finite" in one_line(r2lm("verify", bad, code=DATA).err)
    data[-8:-4] = struct.pack("<f", float("-inf"))
    bad.write_bytes(data)
    assert verify(bad, code=DATA)["bad_tensors"] == 1


@pytest.mark.parametrize("case, name, value", [("deepseek_v3_fp8", "model.layers.1.self_attn.o_proj.weight", b"\x7f"), ("deepseek_v3_fp8", "model.layers.1.self_attn.o_proj.weight", b"\xff"),
                                               ("deepseek_v3_fp8", "lm_head.weight", b"\x80\x7f"), ("deepseek_v3_fp8", "model.layers.1.self_attn.o_proj.weight_scale_inv", struct.pack("<f", float("inf")))])
def test_each_kind_of_number(work, case, name, value):
    bad = copy_case(case, work / "bad")
    def spoil(tensors, data):
        at = tensors[name]["data_offsets"][0]
        return tensors, data[:at] + value + data[at + len(value):]
    edit_weights(bad, spoil)
    said = verify(bad, code=DATA)
    assert said["bad_tensors"] == 1 and name in said["faults"][0]


def test_structure(work):
    data = open(TOY, "rb").read()
    (work / "cut.gguf").write_bytes(data[:-1000])
    (work / "junk.gguf").write_bytes(b"GGUF" + bytes(range(200)))
    for name in ("cut.gguf", "junk.gguf"): one_line(r2lm("verify", work / name, code=DATA).err)
    bad = copy_case("llama", work / "bad")
    config = json.load(open(bad / "config.json"))
    (bad / "config.json").write_text(json.dumps({**config, "intermediate_size": 88}))
    said = verify(bad, code=DATA)
    assert "expected" in said["faults"][0] and said["tensors"] > 30     # values are looked at all the same
    r2lm("verify", work / "none.gguf", code=DATA)


@needs_checksums
def test_checksums(work):
    model = work / "toy.gguf"
    shutil.copy(TOY, model)
    good, wrong = sha256(model), "0" * 64
    assert verify(model)["files"] == [dict(name="toy.gguf", bytes=os.path.getsize(model), sha256=good, expected=None, source=None, ok=True)]
    (work / "SHA256SUMS").write_text(f"{wrong}  other.gguf\n{good} *toy.gguf\n")
    assert verify(model)["files"][0]["source"] == "SHA256SUMS"
    (work / "SHA256SUMS").write_text(f"{wrong}  toy.gguf\n")
    assert "SHA-256" in one_line(r2lm("verify", model, code=DATA).err)
    assert verify(model, code=DATA)["files"][0]["ok"] is False
    assert verify(model, "--no-checksums")["files"] == []
    (work / "toy.gguf.sha256").write_text(good.upper() + "\n")      # the nearer one counts
    assert verify(model)["files"][0]["source"] == "FILE.sha256"


@needs_checksums
def test_checksums_of_downloads(work):
    case = copy_case("llama", work / "case")
    blobs, snapshot = work / "models--x" / "blobs", work / "models--x" / "snapshots" / "r1"
    blobs.mkdir(parents=True), snapshot.mkdir(parents=True)
    good = sha256(case / "model.safetensors")
    shutil.copy(case / "model.safetensors", blobs / good)
    shutil.copy(case / "config.json", snapshot / "config.json")
    os.symlink(f"../../blobs/{good}", snapshot / "model.safetensors")
    assert {f["source"] for f in verify(snapshot)["files"]} == {None, "cache"}
    data = bytearray((blobs / good).read_bytes())
    data[-1] ^= 1
    (blobs / good).write_bytes(data)
    assert "model.safetensors" in one_line(r2lm("verify", snapshot, code=DATA).err)
    record = case / ".cache" / "huggingface" / "download"
    record.mkdir(parents=True)
    (record / "model.safetensors.metadata").write_text(f"revision\n{good}\n1.0\n")
    assert "download record" in {f["source"] for f in verify(case)["files"]}
    (record / "model.safetensors.metadata").write_text(f"revision\n{'1' * 64}\n1.0\n")
    r2lm("verify", case, code=DATA)
