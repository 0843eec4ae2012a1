"""r2lm quantize from outside: recipes, roles, widths, importance, what is measured, and everything that can be wrong."""
import hashlib, json, math, os, resource, signal, struct
import pytest
from cli_client import DATA, MEMORY, PROGRAM, SOURCE, TOY, USAGE, home, one_line, r2lm  # noqa: F401  (a fixture)

F32, F16, Q8_0, Q4_K, Q6_K, Q5_0, IQ4_NL = 0, 1, 8, 12, 14, 6, 20
BLOCK = {F32: (1, 4), F16: (1, 2), 2: (32, 18), 3: (32, 20), Q5_0: (32, 22), 7: (32, 24), Q8_0: (32, 34), Q4_K: (256, 144), 13: (256, 176), Q6_K: (256, 210),
         IQ4_NL: (32, 18), 23: (256, 136), 30: (1, 2), 39: (32, 17)}


def text(t): return struct.pack("<Q", len(t)) + t.encode()


def write_gguf(path, tensors, n_layers=8):
    """tensors: name -> (ne, list of floats).  Just enough of a file for its matrices to be rewritten."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 3)
    head += text("general.architecture") + struct.pack("<I", 8) + text("llama") + text("llama.block_count") + struct.pack("<II", 4, n_layers)
    head += text("general.file_type") + struct.pack("<II", 4, 0)
    data = b""
    for name, (ne, values) in tensors.items():
        head += text(name) + struct.pack("<I", len(ne)) + struct.pack(f"<{len(ne)}Q", *ne) + struct.pack("<IQ", F32, len(data))
        data += struct.pack(f"<{len(values)}f", *values)
        data += bytes(-len(data) % 32)
    path.write_bytes(head + bytes(-len(head) % 32) + data)


def read_gguf(path):
    """name -> (type, ne, bytes), and general.file_type."""
    raw = path.read_bytes()
    at = 8
    def take(form):
        nonlocal at
        out = struct.unpack_from("<" + form, raw, at)
        at += struct.calcsize("<" + form)
        return out if len(out) > 1 else out[0]
    def string():
        nonlocal at
        n = take("Q")
        at += n
        return raw[at - n:at].decode()
    def value(kind):
        if kind == 8: return string()
        if kind == 9:
            inner, n = take("IQ")
            return [value(inner) for _ in range(n)]
        return take("BbHhIif?"[kind] if kind < 8 else {10: "Q", 11: "q", 12: "d"}[kind])
    n_tensors, n_values = take("QQ")
    values = {}
    for _ in range(n_values):
        key = string()
        values[key] = value(take("I"))
    infos = []
    for _ in range(n_tensors):
        name, n_dims = string(), take("I")
        infos.append((name, [take("Q") for _ in range(n_dims)], *take("IQ")))
    start = (at + 31) // 32 * 32
    out = {}
    for name, ne, kind, offset in infos:
        block, n_bytes = BLOCK[kind]
        out[name] = (kind, ne, raw[start + offset:start + offset + math.prod(ne) // block * n_bytes])
    return out, values


def wave(n, size=0.1): return [size * math.sin(0.37 * i + (i // 7) % 5) for i in range(n)]


@pytest.fixture
def wide(tmp_path):
    path = tmp_path / "wide.gguf"
    tensors = {"token_embd.weight": ((256, 8), wave(2048)), "output.weight": ((256, 8), wave(2048)), "output_norm.weight": ((256,), wave(256))}
    for i in range(8):
        tensors[f"blk.{i}.attn_v.weight"] = ((256, 4), wave(1024))
        tensors[f"blk.{i}.attn_q.weight"] = ((256, 4), wave(1024))
        tensors[f"blk.{i}.attn_q.bias"] = ((4,), wave(4))
        tensors[f"blk.{i}.ffn_down_exps.weight"] = ((96, 4, 3), wave(1152))
        tensors[f"blk.{i}.ffn_gate_inp.weight"] = ((256, 3), wave(768))
        tensors[f"blk.{i}.attn_k_b.weight"] = ((32, 16, 2), wave(1024))
    write_gguf(path, tensors)
    return path


def test_every_type_is_written(tmp_path):
    sizes = {}
    for name in "Q4_K_M Q4_K_S Q5_K_M Q5_K_S Q6_K Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 IQ4_NL IQ4_XS MXFP4 MXFP4_MOE F16 BF16 F32".split():
        out = tmp_path / f"{name}.gguf"
        said = json.loads(r2lm("quantize", TOY, out, "--type", name.lower(), "--json").out)
        sizes[name] = said["written_bytes"]
        # The toy's weights are random: its perplexity says nothing, its distributions stay near the source's.
        assert 0 <= said["mean_kl"] < (0.0005 if name in ("Q8_0", "F16", "BF16", "F32") else 0.03), (name, said)
        assert said["requantized_tensors"] == 0 and said["seconds"] > 0
    assert sizes["Q4_0"] < sizes["Q5_0"] < sizes["Q8_0"] < sizes["F16"] == sizes["BF16"] < sizes["F32"]
    same = json.loads(r2lm("quantize", TOY, tmp_path / "same.gguf", "--type", "F32", "--json").out)
    assert same["mean_kl"] == pytest.approx(0, abs=1e-9) and same["same_top"] == 1 and same["perplexity"] == same["source_perplexity"]


def test_measured_perplexity_is_that_of_ppl(tmp_path):
    long, out = tmp_path / "long.txt", tmp_path / "q.gguf"
    long.write_text("The quick brown fox jumps over the lazy dog. " * 60)
    said = json.loads(r2lm("quantize", TOY, out, "--type", "Q4_0", "--text", long, "--json").out)
    for path, key in ((TOY, "source_perplexity"), (out, "perplexity")):
        ppl = json.loads(r2lm("ppl", "-m", path, "-f", long, "--json").out)
        assert ppl["perplexity"] == pytest.approx(said[key], rel=1e-5) and ppl["n_scored"] == said["n_scored"]


def test_recipe_gives_each_role_its_type(tmp_path, wide):
    out = tmp_path / "out.gguf"
    said = r2lm("quantize", wide, out, "--type", "Q4_K_M", "--no-measure")
    tensors, values = read_gguf(out)
    kinds = {name: t[0] for name, t in tensors.items()}
    assert (values["general.file_type"], values["general.quantization_version"]) == (15, 2)
    assert kinds["token_embd.weight"] == Q4_K and kinds["output.weight"] == Q6_K and kinds["output_norm.weight"] == F32
    assert [kinds[f"blk.{i}.attn_v.weight"] for i in range(8)] == [Q6_K, Q4_K, Q4_K, Q6_K, Q4_K, Q4_K, Q6_K, Q6_K]
    assert {kinds[f"blk.{i}.attn_q.weight"] for i in range(8)} == {Q4_K}
    # 96 columns are no whole block of 256: the next types; 32 columns likewise; routers and biases stay.
    assert [kinds[f"blk.{i}.ffn_down_exps.weight"] for i in range(8)] == [Q8_0, Q5_0, Q5_0, Q8_0, Q5_0, Q5_0, Q8_0, Q8_0]
    assert kinds["blk.0.attn_k_b.weight"] == Q5_0 and kinds["blk.0.ffn_gate_inp.weight"] == F32 and kinds["blk.0.attn_q.bias"] == F32
    assert "16 tensors" in said.err
    source, _ = read_gguf(wide)
    assert list(source) == list(tensors) and all(source[n][1] == t[1] for n, t in tensors.items())
    assert all(source[n][2] == t[2] for n, t in tensors.items() if t[0] == F32)


def test_roles_override_the_recipe(tmp_path, wide):
    out = tmp_path / "out.gguf"
    r2lm("quantize", wide, out, "--type", "Q8_0", "--no-measure", "--role", "attention=Q5_0,q=Q4_K", "--role", "expert_down=iq4_nl", "--role", "output=f16")
    kinds = {name: t[0] for name, t in read_gguf(out)[0].items()}
    assert kinds["blk.3.attn_q.weight"] == Q4_K and kinds["blk.3.attn_v.weight"] == Q5_0 and kinds["blk.3.attn_k_b.weight"] == Q5_0
    assert kinds["blk.3.ffn_down_exps.weight"] == IQ4_NL and kinds["output.weight"] == F16 and kinds["token_embd.weight"] == Q8_0


def test_same_bytes_whatever_the_threads(tmp_path, wide):
    digests = set()
    for threads in (1, 2, 3):
        out = tmp_path / f"{threads}.gguf"
        r2lm("quantize", wide, out, "--type", "Q5_K_M", "--no-measure", "-t", threads)
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_importance_is_kept_and_used(tmp_path):
    kept, plain, first, second = (tmp_path / n for n in ("text.imatrix", "plain.gguf", "first.gguf", "second.gguf"))
    words = tmp_path / "words.txt"
    words.write_text("one two three four five six seven eight nine ten " * 40)
    r2lm("quantize", TOY, plain, "--type", "Q4_0", "--no-measure")
    said = json.loads(r2lm("quantize", TOY, first, "--type", "Q4_0", "--no-measure", "--imatrix-text", words, "--imatrix-out", kept, "--json").out)
    r2lm("quantize", TOY, second, "--type", "Q4_0", "--no-measure", "--imatrix", kept)
    assert said["weighted_tensors"] == 15
    assert first.read_bytes() == second.read_bytes() != plain.read_bytes()
    sums, values = read_gguf(kept)
    assert values["general.type"] == "imatrix" and values["imatrix.chunk_count"] >= 1
    ne = sums["blk.0.attn_q.weight.in_sum2"][1]
    count = struct.unpack("<f", sums["blk.0.attn_q.weight.counts"][2])[0]
    assert ne == [32, 1] and count == values["imatrix.chunk_count"] * values["imatrix.chunk_size"]
    # q, k and v are multiplied with the same rows; what is normed has mean squares about the norm's.
    q, k = (struct.unpack("<32f", sums[f"blk.0.attn_{x}.weight.in_sum2"][2]) for x in "qk")
    assert q == k and min(q) > 0
    broken = tmp_path / "broken.imatrix"
    broken.write_bytes(kept.read_bytes()[:-40])
    assert "broken.imatrix" in one_line(r2lm("quantize", TOY, tmp_path / "x", "--imatrix", broken, code=DATA).err)
    assert "in_sum2" in one_line(r2lm("quantize", TOY, tmp_path / "x", "--imatrix", TOY, code=DATA).err)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("arguments, code, says", [
    (["--type", "Q9_K"], USAGE, "Q4_K_M"), (["--role", "down"], USAGE, "ROLE=TYPE"), (["--role", "nose=Q8_0"], USAGE, "nose"), (["--role", "down=Q9"], USAGE, "down=Q9"),
    (["--role", "down=Q2_K"], USAGE, "down=Q2_K"), (["--role", "q=Q4_K"], USAGE, "multiple of 256"), (["--imatrix", "a", "--imatrix-text", "b"], USAGE, "both"),
    (["--imatrix-out", "a"], USAGE, "--imatrix-text"), (["--imatrix", "/no/such/file"], DATA, "no such"), (["--threads", "999"], USAGE, "256")])
def test_wrong_usage_is_one_line(tmp_path, arguments, code, says):
    out = tmp_path / "out.gguf"
    assert says.lower() in one_line(r2lm("quantize", TOY, out, "--no-measure", *arguments, code=code).err).lower()
    assert os.listdir(tmp_path) == ["home"]


def test_measuring_needs_a_text_and_a_tokenizer(tmp_path):
    out = tmp_path / "out.gguf"
    (tmp_path / "empty").write_text("")
    for text in ("none", "empty"):
        assert text in one_line(r2lm("quantize", TOY, out, "--text", tmp_path / text, code=DATA).err) and not out.exists()
    golden = os.path.join(SOURCE, "tests", "golden", "qwen2")           # has no tokenizer
    assert "not measured" in r2lm("quantize", golden, out, "--type", "Q8_0").err and out.exists()
    r2lm("quantize", TOY, out, "--force", "--lora", "x", code=USAGE)


def test_output_exists_or_has_no_place(tmp_path):
    out = tmp_path / "out.gguf"
    out.write_text("before")
    assert "exists" in one_line(r2lm("quantize", TOY, out, "--no-measure", code=USAGE).err) and out.read_text() == "before"
    r2lm("quantize", TOY, out, "--no-measure", "--force")
    assert out.read_bytes()[:4] == b"GGUF"
    assert "another file" in one_line(r2lm("quantize", out, out, "--no-measure", "--force", code=USAGE).err)
    assert "note" in r2lm("quantize", out, tmp_path / "again.gguf", "--no-measure", "--type", "Q8_0").err    # was quantized before
    r2lm("quantize", TOY, tmp_path / "none" / "out.gguf", "--no-measure", code=DATA)
    r2lm("quantize", TOY, code=USAGE)
    r2lm("quantize", "/no/such/model", out, code=DATA)
    assert sorted(os.listdir(tmp_path)) == ["again.gguf", "home", "out.gguf"]


@pytest.mark.parametrize("family", ["llama", "deepseek_v2", "deepseek_v3"])
def test_folder_as_source(tmp_path, family):
    golden = os.path.join(SOURCE, "tests", "golden", family)
    folder = golden if os.path.exists(os.path.join(golden, "config.json")) else os.path.join(golden, "hf")
    out, source, twin = tmp_path / "out.gguf", tmp_path / "source.gguf", tmp_path / "twin.gguf"
    r2lm("quantize", folder, out, "--type", "Q8_0", "--no-measure")
    r2lm("convert", folder, source)
    r2lm("quantize", source, twin, "--type", "Q8_0", "--no-measure")
    assert out.read_bytes() == twin.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["home", "out.gguf", "source.gguf", "twin.gguf"]
    # Routers and norms stay; no row of these small models is a whole number of blocks, so matrices are F16.
    kinds = {name.split(".", 2)[-1]: t[0] for name, t in read_gguf(out)[0].items()}
    assert kinds.get("ffn_gate_inp.weight", F32) == F32 and kinds["attn_norm.weight"] == F32
    assert all(kinds[n] in (Q8_0, F16) for n in kinds if n.endswith(("_exps.weight", "_shexp.weight", "_b.weight", "attn_output.weight")))


def test_full_disk_leaves_nothing(tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
    out = tmp_path / "out.gguf"
    assert "out.gguf" in one_line(r2lm("quantize", TOY, out, "--no-measure", code=MEMORY, preexec_fn=limit).err)
    assert os.listdir(tmp_path) == ["home"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_numbers_are_refused(tmp_path, wide, bad):
    values = wave(4096)
    values[256 * 11 + 3] = bad
    source, out = tmp_path / "bad.gguf", tmp_path / "out.gguf"
    write_gguf(source, {"blk.0.ffn_up.weight": ((256, 16), values)})
    for kind in ("Q4_K_M", "Q8_0", "BF16"):
        assert "blk.0.ffn_up.weight: row 11" in one_line(r2lm("quantize", source, out, "--type", kind, "--no-measure", code=DATA).err)
    assert not out.exists()


def test_too_large_for_half_precision(tmp_path):
    values = wave(4096)
    values[300] = 1e6
    source, out = tmp_path / "large.gguf", tmp_path / "out.gguf"
    write_gguf(source, {"blk.0.ffn_up.weight": ((256, 16), values)})
    assert "F16" in one_line(r2lm("quantize", source, out, "--type", "F16", "--no-measure", code=DATA).err)
    r2lm("quantize", source, out, "--type", "Q8_0", "--no-measure")


def test_interrupt_leaves_nothing(tmp_path):
    import subprocess
    source, out = tmp_path / "big.gguf", tmp_path / "out.gguf"
    rows = 20000
    one = struct.pack("<512f", *wave(512))
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("general.architecture") + struct.pack("<I", 8) + text("llama")
    head += text("blk.0.ffn_up.weight") + struct.pack("<IQQIQ", 2, 512, rows, F32, 0)
    with open(source, "wb") as file:
        file.write(head + bytes(-len(head) % 32))
        for _ in range(rows): file.write(one)
    child = subprocess.Popen([PROGRAM, "quantize", source, out, "--type", "IQ4_XS", "--no-measure", "-t", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while child.poll() is None and not [n for n in os.listdir(tmp_path) if n.endswith(".part")]: pass
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    assert child.returncode in (130, 0) and [n for n in os.listdir(tmp_path) if n.endswith(".part")] == []
    assert out.exists() == (child.returncode == 0)
