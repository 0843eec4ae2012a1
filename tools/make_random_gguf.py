#!/usr/bin/env python3
"""Write a GGUF of a known shape with random weights: for speed, start-up and memory of sizes that nobody should download for a test.

  make_random_gguf.py SHAPE OUT.gguf [--tokenizer IN.gguf] [--layers N] [--pure] [--seed N]        (needs numpy and gguf)

SHAPE: r1-distill-qwen-1.5b | r1-0528-qwen3-8b | qwen3-30b-a3b
       deepseek-v2-lite      the whole of it, 10 GB
       deepseek-r1-layers    one dense and one expert layer of DeepSeek-R1 with few words, 7 GB
       mla-heads, gqa-heads  16 heads with a latent cache or four key/value heads, next to nothing beside
       experts, no-experts   64 experts of which six, or one block as wide as six, next to nothing beside

Matrices are genuine Q4_K; without --pure those that llama.cpp's Q4_K_M recipe keeps in Q6_K are Q6_K.  Where a row is not a multiple
of 256 they are Q5_0 and Q8_0, as llama.cpp falls back.  Weights have mean 0 and standard deviation 0.02, norms are 1 and biases 0, so
activations stay finite and logits do not collapse.  Tokenizer keys are copied; without --tokenizer a byte-level vocabulary of the
shape's size is made up.  Blocks come from a pool of random ones (a fresh random place per stretch); the two vocabulary matrices are
fresh throughout, so that no two tokens tie.  One tensor is in memory at a time: the largest need about 3 GB.
"""
import argparse, math, time
import numpy as np
from gguf import GGMLQuantizationType as T, GGUFReader, GGUFWriter, GGUFValueType

STD = 0.02
SHAPES = {
    "r1-distill-qwen-1.5b": dict(arch="qwen2", layers=28, d=1536, ff=8960, heads=12, kv=2, head=128, vocab=151936, theta=1e4, context=131072),
    "r1-0528-qwen3-8b": dict(arch="qwen3", layers=36, d=4096, ff=12288, heads=32, kv=8, head=128, vocab=151936, theta=1e6, context=131072,
                             yarn=(4.0, 32768)),
    "qwen3-30b-a3b": dict(arch="qwen3moe", layers=48, d=2048, ff=6144, heads=32, kv=4, head=128, vocab=151936, theta=1e6, context=40960,
                          experts=128, active=8, ff_expert=768),
    "deepseek-v2-lite": dict(arch="deepseek2", layers=27, d=2048, ff=10944, heads=16, kv_rank=512, nope=128, rope=64, value=128, vocab=102400, theta=1e4,
                             context=163840, yarn=(40.0, 4096), mscale=0.707, experts=64, active=6, ff_expert=1408, shared=2, dense=1, scale=1.0),
    "deepseek-r1-layers": dict(arch="deepseek2", layers=2, d=7168, ff=18432, heads=128, kv_rank=512, q_rank=1536, nope=128, rope=64, value=128, vocab=1024,
                               theta=1e4, context=163840, yarn=(40.0, 4096), mscale=1.0, experts=256, active=8, ff_expert=2048, shared=1, dense=1, scale=2.5,
                               groups=(8, 4), is_sigmoid=True),
    "mla-heads": dict(arch="deepseek2", layers=2, d=2048, ff=512, heads=16, kv_rank=512, nope=128, rope=64, value=128, vocab=1024, theta=1e4, context=65536,
                      experts=4, active=1, ff_expert=256, shared=0, dense=2, scale=1.0),
    "gqa-heads": dict(arch="qwen2", layers=2, d=2048, ff=512, heads=16, kv=4, head=128, vocab=1024, theta=1e4, context=65536),
    "experts": dict(arch="qwen3moe", layers=2, d=2048, ff=9216, heads=2, kv=1, head=128, vocab=1024, theta=1e4, context=4096, experts=64, active=6, ff_expert=1536),
    "no-experts": dict(arch="qwen3", layers=2, d=2048, ff=9216, heads=2, kv=1, head=128, vocab=1024, theta=1e4, context=4096),
}
BLOCK = {T.Q4_K: (256, 144), T.Q6_K: (256, 210), T.Q5_0: (32, 22), T.Q8_0: (32, 34)}      # values, bytes
FALLBACK = {T.Q4_K: T.Q5_0, T.Q6_K: T.Q8_0}
POOL_BLOCKS = 1 << 18
CHUNK_BLOCKS = 1 << 19


def q4_k_blocks(rng, n):
    """w = d * s * q - m * s_min: with m = 7.5 d and s_min = s every group has mean 0."""
    s = rng.integers(32, 64, (n, 8), dtype=np.uint8)
    d = np.float16(STD / (math.sqrt((16 ** 2 - 1) / 12) * 48))
    out = np.empty((n, 144), np.uint8)
    out[:, 0:2] = np.frombuffer(np.float16(d).tobytes(), np.uint8)
    out[:, 2:4] = np.frombuffer(np.float16(7.5 * float(d)).tobytes(), np.uint8)
    low, high = s[:, :4], s[:, 4:]
    out[:, 4:8] = out[:, 8:12] = low | (high >> 4) << 6         # 6-bit scales, then minima, top bits of the other four on top
    out[:, 12:16] = (high & 15) | (high & 15) << 4
    out[:, 16:] = np.frombuffer(rng.bytes(n * 128), np.uint8).reshape(n, 128)
    return out


def q6_k_blocks(rng, n):
    """w = d * s * (q - 32); random signs of s take the mean away."""
    s = rng.integers(16, 65, (n, 16), dtype=np.int8) * rng.choice(np.array([-1, 1], np.int8), (n, 16))
    d = np.float16(STD / (math.sqrt((64 ** 2 - 1) / 12) * 42))
    out = np.empty((n, 210), np.uint8)
    out[:, :192] = np.frombuffer(rng.bytes(n * 192), np.uint8).reshape(n, 192)
    out[:, 192:208] = s.view(np.uint8)
    out[:, 208:] = np.frombuffer(d.tobytes(), np.uint8)
    return out


def small_blocks(rng, n, d, n_bytes):
    """d, of random sign so that the mean is 0, and random bytes behind it."""
    out = np.empty((n, 2 + n_bytes), np.uint8)
    out[:, :2] = (np.float16(d) * rng.choice(np.array([-1, 1], np.float16), n)).view(np.uint8).reshape(n, 2)
    out[:, 2:] = np.frombuffer(rng.bytes(n * n_bytes), np.uint8).reshape(n, n_bytes)
    return out


def q5_0_blocks(rng, n): return small_blocks(rng, n, STD / math.sqrt((32 ** 2 - 1) / 12), 20)
def q8_0_blocks(rng, n): return small_blocks(rng, n, STD / math.sqrt((256 ** 2 - 1) / 12), 32)


MAKE = {T.Q4_K: q4_k_blocks, T.Q6_K: q6_k_blocks, T.Q5_0: q5_0_blocks, T.Q8_0: q8_0_blocks}


def row_bytes(kind, n_columns): return n_columns // BLOCK[kind][0] * BLOCK[kind][1]


class Blocks:
    def __init__(self, rng):
        self.rng, self.pool = rng, {}

    def matrix(self, kind, shape, is_fresh):
        """Bytes of a matrix [..., rows, columns], as an array [..., rows, bytes per row]."""
        n = math.prod(shape) // BLOCK[kind][0]
        out = np.empty((n, BLOCK[kind][1]), np.uint8)
        if kind not in self.pool:
            self.pool[kind] = MAKE[kind](self.rng, POOL_BLOCKS)
        at = 0
        while at < n:
            if is_fresh:
                k = min(n - at, CHUNK_BLOCKS)
                out[at:at + k] = MAKE[kind](self.rng, k)
            else:
                start = int(self.rng.integers(POOL_BLOCKS))
                k = min(n - at, POOL_BLOCKS - start)
                out[at:at + k] = self.pool[kind][start:start + k]
            at += k
        return out.reshape(*shape[:-1], row_bytes(kind, shape[-1]))


def has_more_bits(i, n):
    """llama.cpp's choice of layers whose attn_v and ffn_down get Q6_K in Q4_K_M."""
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def gqa_tensors(c, better):
    d, q, kv = c["d"], c["heads"] * c["head"], c["kv"] * c["head"]
    for name, rows, kind in (("q", q, T.Q4_K), ("k", kv, T.Q4_K), ("v", kv, better)):
        yield f"attn_{name}.weight", (rows, d), kind, None
        if c["arch"] == "qwen2":
            yield f"attn_{name}.bias", (rows,), None, 0.0
    if c["arch"] != "qwen2":
        yield "attn_q_norm.weight", (c["head"],), None, 1.0
        yield "attn_k_norm.weight", (c["head"],), None, 1.0
    yield "attn_output.weight", (d, q), T.Q4_K, None


def mla_tensors(c):
    d, heads, r = c["d"], c["heads"], c["kv_rank"]
    q = heads * (c["nope"] + c["rope"])
    if "q_rank" in c:
        yield "attn_q_a.weight", (c["q_rank"], d), T.Q4_K, None
        yield "attn_q_a_norm.weight", (c["q_rank"],), None, 1.0
        yield "attn_q_b.weight", (q, c["q_rank"]), T.Q4_K, None
    else:
        yield "attn_q.weight", (q, d), T.Q4_K, None
    yield "attn_kv_a_mqa.weight", (r + c["rope"], d), T.Q4_K, None
    yield "attn_kv_a_norm.weight", (r,), None, 1.0
    yield "attn_k_b.weight", (heads, r, c["nope"]), T.Q4_K, None
    yield "attn_v_b.weight", (heads, c["value"], r), T.Q4_K, None
    yield "attn_output.weight", (d, heads * c["value"]), T.Q4_K, None


def ffn_tensors(c, i, better):
    d = c["d"]
    if "experts" not in c or i < c.get("dense", 0):
        yield "ffn_gate.weight", (c["ff"], d), T.Q4_K, None
        yield "ffn_up.weight", (c["ff"], d), T.Q4_K, None
        yield "ffn_down.weight", (d, c["ff"]), better, None
        return
    e, f = c["experts"], c["ff_expert"]
    yield "ffn_gate_inp.weight", (e, d), None, "normal"
    if c.get("is_sigmoid"):
        yield "exp_probs_b.bias", (e,), None, 0.0
    yield "ffn_gate_exps.weight", (e, f, d), T.Q4_K, None
    yield "ffn_up_exps.weight", (e, f, d), T.Q4_K, None
    yield "ffn_down_exps.weight", (e, d, f), better, None
    if c.get("shared"):
        yield "ffn_gate_shexp.weight", (c["shared"] * f, d), T.Q4_K, None
        yield "ffn_up_shexp.weight", (c["shared"] * f, d), T.Q4_K, None
        yield "ffn_down_shexp.weight", (d, c["shared"] * f), better, None


def layer_tensors(c, i, better):
    yield "attn_norm.weight", (c["d"],), None, 1.0
    yield from mla_tensors(c) if "kv_rank" in c else gqa_tensors(c, better)
    yield "ffn_norm.weight", (c["d"],), None, 1.0
    yield from ffn_tensors(c, i, better)


def tensors(c, n_layers, is_pure):
    """(name, shape, kind, fill): kind None is F32 filled with `fill`."""
    def mix(is_better): return T.Q6_K if is_better and not is_pure else T.Q4_K
    yield "token_embd.weight", (c["vocab"], c["d"]), T.Q4_K, None
    yield "output_norm.weight", (c["d"],), None, 1.0
    yield "output.weight", (c["vocab"], c["d"]), mix(True), None
    for i in range(n_layers):
        for name, shape, kind, fill in layer_tensors(c, i, mix(has_more_bits(i, n_layers))):
            yield f"blk.{i}.{name}", shape, FALLBACK[kind] if kind is not None and shape[-1] % 256 else kind, fill


def add_latent_metadata(w, c):
    r = c["kv_rank"]
    w.add_head_count_kv(1); w.add_kv_lora_rank(r); w.add_rope_dimension_count(c["rope"])
    w.add_key_length(r + c["rope"]); w.add_value_length(r)
    w.add_key_length_mla(c["nope"] + c["rope"]); w.add_value_length_mla(c["value"])
    if "q_rank" in c:
        w.add_q_lora_rank(c["q_rank"])
    w.add_leading_dense_block_count(c["dense"]); w.add_expert_shared_count(c["shared"])
    w.add_expert_weights_scale(c["scale"]); w.add_expert_weights_norm(bool(c.get("is_sigmoid")))
    w.add_uint32(f"{c['arch']}.expert_gating_func", 2 if c.get("is_sigmoid") else 1)
    if "groups" in c:
        w.add_uint32(f"{c['arch']}.expert_group_count", c["groups"][0])
        w.add_uint32(f"{c['arch']}.expert_group_used_count", c["groups"][1])
    if "mscale" in c:
        w.add_float32(f"{c['arch']}.rope.scaling.yarn_log_multiplier", 0.1 * c["mscale"])


def add_metadata(w, c, name, n_layers):
    w.add_name(f"random {name}")
    w.add_file_type(15)                                         # "mostly Q4_K_M"
    w.add_block_count(n_layers); w.add_context_length(c["context"]); w.add_embedding_length(c["d"]); w.add_feed_forward_length(c["ff"])
    w.add_head_count(c["heads"]); w.add_layer_norm_rms_eps(1e-6); w.add_rope_freq_base(c["theta"])
    w.add_vocab_size(c["vocab"])
    if "kv_rank" in c:
        add_latent_metadata(w, c)
    else:
        w.add_head_count_kv(c["kv"])
        if c["arch"] != "qwen2":
            w.add_key_length(c["head"]); w.add_value_length(c["head"])
    if "experts" in c:
        w.add_expert_count(c["experts"]); w.add_expert_used_count(c["active"]); w.add_expert_feed_forward_length(c["ff_expert"])
    if "yarn" in c:
        w.add_string(f"{c['arch']}.rope.scaling.type", "yarn")
        w.add_rope_scaling_factor(c["yarn"][0]); w.add_rope_scaling_orig_ctx_len(c["yarn"][1])


def copy_tokenizer(w, path, n_vocab):
    for key, field in GGUFReader(path).fields.items():
        if not key.startswith("tokenizer."):
            continue
        value = field.contents()
        if key == "tokenizer.ggml.tokens" and len(value) != n_vocab:
            raise SystemExit(f"{path}: {key}: expected {n_vocab} tokens, found {len(value)}")
        kind = field.types[0]
        w.add_key_value(key, value, kind, field.types[-1] if kind == GGUFValueType.ARRAY else None)


def make_up_tokenizer(w, n_vocab):
    """Byte letters, a few pairs of them, words nobody can write, and three control tokens."""
    letters = [chr(i) for i in (*range(33, 127), *range(161, 173), *range(174, 256))]
    letters += [chr(256 + i) for i in range(256 - len(letters))]
    pairs = [("t", "h"), ("i", "n"), ("e", "r"), ("a", "n"), ("o", "n"), ("\u0120", "a"), ("\u0120", "th"), ("in", "g")]
    tokens = letters + [a + b for a, b in pairs]
    tokens += [f"word{i}" for i in range(n_vocab - len(tokens) - 3)] + ["<begin>", "<end>", "<pad>"]
    w.add_tokenizer_model("gpt2"); w.add_tokenizer_pre("qwen2")
    w.add_token_list(tokens); w.add_token_types([1] * (n_vocab - 3) + [3] * 3); w.add_token_merges([f"{a} {b}" for a, b in pairs])
    w.add_bos_token_id(n_vocab - 3); w.add_eos_token_id(n_vocab - 2); w.add_pad_token_id(n_vocab - 1)


def main():
    parser = argparse.ArgumentParser(description="random weights in a known shape")
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out")
    parser.add_argument("--tokenizer", metavar="GGUF", help="file whose tokenizer keys are copied; default: a made-up vocabulary")
    parser.add_argument("--layers", type=int, help="fewer layers than the real model")
    parser.add_argument("--pure", action="store_true", help="every matrix in Q4_K")
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    c, rng = SHAPES[a.shape], np.random.default_rng(a.seed)
    n_layers, begin, n_bytes = a.layers or c["layers"], time.time(), 0
    blocks, plan = Blocks(rng), list(tensors(c, n_layers, a.pure))
    w = GGUFWriter(a.out, c["arch"])
    add_metadata(w, c, a.shape, n_layers)
    if a.tokenizer:
        copy_tokenizer(w, a.tokenizer, c["vocab"])
    else:
        make_up_tokenizer(w, c["vocab"])
    for name, shape, kind, _ in plan:
        if kind is None:
            w.add_tensor_info(name, shape, np.dtype(np.float32), 4 * math.prod(shape))
        else:
            byte_shape = (*shape[:-1], row_bytes(kind, shape[-1]))
            w.add_tensor_info(name, byte_shape, np.dtype(np.uint8), math.prod(byte_shape), raw_dtype=kind)
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_ti_data_to_file()
    for name, shape, kind, fill in plan:
        if kind is not None:
            x = blocks.matrix(kind, shape, name in ("token_embd.weight", "output.weight"))
        elif fill == "normal":
            x = (rng.standard_normal(shape) * STD).astype(np.float32)
        else:
            x = np.full(shape, fill, np.float32)
        w.write_tensor_data(x)
        n_bytes += x.nbytes
    w.close()
    print(f"{a.out}: {n_bytes / 1e9:.2f} GB of weights in {time.time() - begin:.0f} s")


if __name__ == "__main__":
    main()
