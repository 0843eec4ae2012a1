#!/usr/bin/env python3
"""Make tiny seeded checkpoints and their expected outputs (golden references).

  make_golden.py [--out DIR] [--set 1|2] [--seed N] [--only NAME ...]

Set 1 (seed 20251) is tests/golden, the default DIR; set 2 has other dimensions, for a second opinion. Each case directory gets config.json,
model.safetensors and expected.json. The numbers come from the public `transformers` implementations
(eager attention, fp32 arithmetic on the stored weights). Needs: torch, transformers >= 5.23, safetensors.
Deterministic: every tensor has its own generator seeded from crc32(name) and the case seed.
"""
import argparse, copy, json, math, os, sys, zlib
os.environ.setdefault("HF_HUB_OFFLINE", "1"); os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
import numpy as np, torch, transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM
transformers.logging.set_verbosity_error(); transformers.logging.disable_progress_bar()
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

# ---------------------------------------------------------------- cases
def cases(s):
    """s = 1 or 2; pick(a, b) gives the dimension of that set."""
    p = lambda a, b: a if s == 1 else b
    C = {}
    C["llama"] = dict(train=True, dtype="F32", config=dict(                       # SmolLM2 shape: tied, GQA 3:1
        architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=p(160, 192), hidden_size=p(48, 72),
        intermediate_size=p(80, 112), num_hidden_layers=p(4, 3), num_attention_heads=p(6, 9), num_key_value_heads=p(2, 3),
        hidden_act="silu", max_position_embeddings=2048, rms_norm_eps=1e-5, rope_theta=100000.0, rope_scaling=None,
        tie_word_embeddings=True, attention_bias=False, mlp_bias=False, bos_token_id=1, eos_token_id=2, torch_dtype="float32"))
    C["llama_rope3"] = dict(train=True, dtype="BF16", config=dict(                # Llama-3.1 scaling, biases, head_dim, untied
        architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=p(144, 176), hidden_size=p(64, 80),
        intermediate_size=p(96, 128), num_hidden_layers=3, num_attention_heads=p(4, 5), num_key_value_heads=p(2, 1),
        head_dim=p(24, 12), hidden_act="silu", max_position_embeddings=4096, rms_norm_eps=1e-5, rope_theta=500.0,
        rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                          original_max_position_embeddings=p(64, 32)),
        tie_word_embeddings=False, attention_bias=True, mlp_bias=True, bos_token_id=1, eos_token_id=2, torch_dtype="bfloat16"))
    C["qwen2"] = dict(train=True, dtype="F32", config=dict(                       # R1-Distill-Qwen: untied, q/k/v biases
        architectures=["Qwen2ForCausalLM"], model_type="qwen2", vocab_size=p(168, 200), hidden_size=p(56, 64),
        intermediate_size=p(104, 88), num_hidden_layers=p(3, 4), num_attention_heads=p(7, 8), num_key_value_heads=p(1, 2),
        hidden_act="silu", max_position_embeddings=4096, rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=False,
        use_sliding_window=False, sliding_window=4096, max_window_layers=2, use_mrope=False, attention_dropout=0.0,
        bos_token_id=1, eos_token_id=2, torch_dtype="float32"))
    C["qwen2_yarn"] = dict(train=True, dtype="BF16", config=dict(                 # tied, YaRN, sliding window on later layers
        architectures=["Qwen2ForCausalLM"], model_type="qwen2", vocab_size=p(176, 136), hidden_size=p(64, 48),
        intermediate_size=p(96, 72), num_hidden_layers=4, num_attention_heads=p(4, 6), num_key_value_heads=p(2, 3),
        hidden_act="silu", max_position_embeddings=p(128, 64), rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=True,
        rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=p(32, 16)),
        use_sliding_window=True, sliding_window=p(9, 7), max_window_layers=2, bos_token_id=1, eos_token_id=2, torch_dtype="bfloat16"))
    C["qwen3"] = dict(train=True, dtype="F32", config=dict(                       # q/k norm, head_dim != hidden/heads, new-style keys
        architectures=["Qwen3ForCausalLM"], model_type="qwen3", vocab_size=p(150, 180), hidden_size=p(40, 64),
        intermediate_size=p(96, 80), num_hidden_layers=p(3, 4), num_attention_heads=p(4, 6), num_key_value_heads=p(2, 2),
        head_dim=p(16, 12), hidden_act="silu", max_position_embeddings=2048, rms_norm_eps=1e-6, attention_bias=False,
        rope_parameters=dict(rope_type="default", rope_theta=1000000.0), tie_word_embeddings=p(True, False),
        use_sliding_window=False, sliding_window=None, max_window_layers=3, bos_token_id=1, eos_token_id=2, dtype="float32"))
    C["qwen3_moe"] = dict(train=True, dtype="F32", config=dict(                   # softmax router, no shared expert
        architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", vocab_size=p(128, 160), hidden_size=p(40, 48),
        intermediate_size=p(72, 64), moe_intermediate_size=p(24, 20), num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=p(16, 20), hidden_act="silu", max_position_embeddings=2048, rms_norm_eps=1e-6,
        attention_bias=False, rope_theta=1000000.0, rope_scaling=None, tie_word_embeddings=False, num_experts=p(8, 10),
        num_experts_per_tok=p(3, 2), norm_topk_prob=p(True, False), decoder_sparse_step=1, mlp_only_layers=[1],
        output_router_logits=False, router_aux_loss_coef=0.001, use_sliding_window=False, bos_token_id=1, eos_token_id=2,
        torch_dtype="float32"))
    C["deepseek_v2"] = dict(train=True, dtype="F32", config=dict(                 # V2-Lite: no q lora, greedy softmax, 2 shared
        architectures=["DeepseekV2ForCausalLM"], model_type="deepseek_v2", vocab_size=p(144, 120), hidden_size=p(48, 64),
        intermediate_size=p(88, 96), moe_intermediate_size=p(24, 20), num_hidden_layers=3, num_attention_heads=p(4, 2),
        num_key_value_heads=p(4, 2), n_shared_experts=2, n_routed_experts=p(8, 9), num_experts_per_tok=p(3, 4),
        routed_scaling_factor=1.0, kv_lora_rank=p(20, 24), q_lora_rank=None, qk_rope_head_dim=p(8, 12), qk_nope_head_dim=p(12, 10),
        v_head_dim=p(10, 14), topk_method="greedy", n_group=1, topk_group=1, scoring_func="softmax", norm_topk_prob=False,
        first_k_dense_replace=1, moe_layer_freq=1, hidden_act="silu", max_position_embeddings=p(640, 320), rms_norm_eps=1e-5,
        rope_theta=10000, rope_scaling=dict(type="yarn", factor=p(40, 20), mscale=0.707, mscale_all_dim=0.707,
            original_max_position_embeddings=16, beta_fast=p(4, 2), beta_slow=1),
        attention_bias=False, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, torch_dtype="float32"))
    C["deepseek_v2_group"] = dict(train=False, dtype="BF16", config=dict(         # V2 full: q lora, group_limited_greedy, mscale != all_dim
        architectures=["DeepseekV2ForCausalLM"], model_type="deepseek_v2", vocab_size=p(128, 150), hidden_size=p(56, 48),
        intermediate_size=p(80, 64), moe_intermediate_size=p(20, 28), num_hidden_layers=3, num_attention_heads=p(2, 4),
        num_key_value_heads=p(2, 4), n_shared_experts=p(1, 2), n_routed_experts=p(12, 8), num_experts_per_tok=3,
        routed_scaling_factor=p(16.0, 3.0), kv_lora_rank=p(16, 20), q_lora_rank=p(24, 18), qk_rope_head_dim=p(12, 8),
        qk_nope_head_dim=p(10, 16), v_head_dim=p(14, 12), topk_method="group_limited_greedy", n_group=4, topk_group=2,
        scoring_func="softmax", norm_topk_prob=False, first_k_dense_replace=1, moe_layer_freq=1, hidden_act="silu",
        max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=10000, rope_scaling=dict(type="yarn", factor=8.0, mscale=p(1.3, 0.6),
            mscale_all_dim=p(0.8, 1.1), original_max_position_embeddings=32, beta_fast=p(8, 5), beta_slow=1),
        attention_bias=True, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, torch_dtype="bfloat16"))
    v3 = dict(
        architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3", vocab_size=p(120, 110), hidden_size=p(40, 48),
        intermediate_size=p(72, 60), moe_intermediate_size=p(16, 12), num_hidden_layers=p(3, 4), num_attention_heads=p(4, 3),
        num_key_value_heads=p(4, 3), n_shared_experts=p(1, 2), n_routed_experts=p(12, 8), num_experts_per_tok=p(4, 3),
        routed_scaling_factor=2.5, kv_lora_rank=p(20, 16), q_lora_rank=p(28, 22), qk_rope_head_dim=p(8, 12), qk_nope_head_dim=p(12, 8),
        v_head_dim=p(10, 16), topk_method="noaux_tc", n_group=4, topk_group=2, scoring_func="sigmoid", norm_topk_prob=True,
        first_k_dense_replace=p(1, 2), moe_layer_freq=1, hidden_act="silu", max_position_embeddings=p(640, 320), rms_norm_eps=p(1e-3, 3e-4),
        rope_theta=10000, rope_scaling=dict(type="yarn", factor=p(40, 20), mscale=1.0, mscale_all_dim=1.0,
            original_max_position_embeddings=16, beta_fast=p(4, 3), beta_slow=1),
        attention_bias=False, tie_word_embeddings=False, ep_size=1, num_nextn_predict_layers=1, bos_token_id=0, eos_token_id=1,
        torch_dtype="float32")
    C["deepseek_v3"] = dict(train=True, dtype="F32", config=v3, mtp=True)
    w = dict(v3, vocab_size=p(120, 140), hidden_size=p(40, 64), q_lora_rank=None, rope_scaling=None, norm_topk_prob=False, n_group=1, topk_group=1,
             n_routed_experts=p(7, 9), num_experts_per_tok=p(2, 4), attention_bias=True, tie_word_embeddings=True, first_k_dense_replace=p(1, 0),
             num_hidden_layers=3, num_nextn_predict_layers=0, routed_scaling_factor=p(1.7, 1.2), rms_norm_eps=1e-6, torch_dtype="bfloat16")
    C["deepseek_v3_noq"] = dict(train=True, dtype="BF16", config=w)
    w = dict(v3, vocab_size=p(96, 112), hidden_size=p(152, 136), intermediate_size=p(136, 192), moe_intermediate_size=p(36, 40),
             num_hidden_layers=p(3, 3), n_routed_experts=p(8, 8), first_k_dense_replace=1, num_experts_per_tok=2, q_lora_rank=p(48, 40), kv_lora_rank=p(32, 40),
             num_nextn_predict_layers=0, torch_dtype="bfloat16", quantization_config=dict(activation_scheme="dynamic", fmt="e4m3",
             quant_method="fp8", weight_block_size=[128, 128]))
    C["deepseek_v3_fp8"] = dict(train=False, dtype="BF16", config=w, fp8=True)
    w = dict(v3, architectures=["DeepseekV32ForCausalLM"], model_type="deepseek_v32", index_topk=p(7, 6), index_head_dim=p(16, 20),
             index_n_heads=p(6, 8), num_nextn_predict_layers=0, vocab_size=p(140, 130))
    C["deepseek_v32"] = dict(train=True, dtype="F32", config=w)
    v4 = dict(
        architectures=["DeepseekV4ForCausalLM"], model_type="deepseek_v4", vocab_size=p(128, 112), hidden_size=p(32, 36),
        moe_intermediate_size=p(16, 12), num_hidden_layers=p(4, 5), num_attention_heads=p(4, 6), num_key_value_heads=1, head_dim=p(16, 20),
        q_lora_rank=p(20, 24), qk_rope_head_dim=p(8, 8), num_experts_per_tok=p(3, 2), n_routed_experts=p(8, 6), n_shared_experts=1,
        scoring_func="sqrtsoftplus", topk_method="noaux_tc", norm_topk_prob=True, routed_scaling_factor=1.5, max_position_embeddings=1024,
        rope_theta=10000, compress_rope_theta=160000.0, rope_scaling=dict(type="yarn", factor=p(16, 8), beta_fast=p(4, 3), beta_slow=1,
            original_max_position_embeddings=p(64, 32)),
        layer_types=(["sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention", "compressed_sparse_attention"]
                     if s == 1 else ["sliding_attention", "sliding_attention", "compressed_sparse_attention",
                                     "heavily_compressed_attention", "compressed_sparse_attention"]),
        compress_rates=dict(compressed_sparse_attention=4, heavily_compressed_attention=p(12, 16)),
        num_hash_layers=p(1, 2), hc_mult=p(4, 3), hc_sinkhorn_iters=p(3, 8), hc_eps=1e-6, swiglu_limit=p(1.5, 2.0), sliding_window=p(8, 6),
        o_groups=p(2, 3), o_lora_rank=p(12, 10), index_n_heads=p(4, 6), index_head_dim=p(12, 16), index_topk=p(3, 4),
        num_nextn_predict_layers=0, hidden_act="silu", rms_norm_eps=1e-6, attention_bias=False, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=1, torch_dtype="float32")
    C["deepseek_v4"] = dict(train=True, dtype="F32", v4=True, config=v4)
    w = dict(v4, vocab_size=p(100, 90), hidden_size=p(160, 64), moe_intermediate_size=p(32, 64), num_hidden_layers=4, layer_types=None,
             compress_ratios=[0, 0, 4, 128], compress_rates=None, sliding_window=p(16, 12), o_groups=2, num_attention_heads=p(4, 6),
             n_routed_experts=p(6, 8), hc_mult=p(2, 3), hc_sinkhorn_iters=20, hidden_act="silu", scale_fmt="ue8m0", expert_dtype="fp4", torch_dtype="bfloat16", quantization_config=dict(
             activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", scale_fmt="ue8m0", weight_block_size=[128, 128]))
    for k in ("layer_types", "compress_rates"): w.pop(k)                          # published style: compress_ratios per layer
    C["deepseek_v4_fp4"] = dict(train=False, dtype="BF16", v4=True, fp4=True, lengths=(27, 150), config=w)
    return C

# ---------------------------------------------------------------- checkpoint names
V4 = [("model.embed_tokens.weight", "embed.weight"), ("lm_head.weight", "head.weight"), ("model.norm.weight", "norm.weight"),
      ("model.hc_head.hc_", "hc_head_"), ("model.layers.", "layers."), (".input_layernorm.", ".attn_norm."),
      (".post_attention_layernorm.", ".ffn_norm."), (".attn_hc.", ".hc_attn_"), (".ffn_hc.", ".hc_ffn_"),
      (".self_attn.compressor.indexer.scorer.weights_proj.", ".attn.indexer.weights_proj."),
      (".self_attn.compressor.indexer.q_b_proj.", ".attn.indexer.wq_b."), (".self_attn.compressor.indexer.", ".attn.indexer.compressor."),
      (".compressor.kv_norm.", ".compressor.norm."), (".self_attn.sinks", ".attn.attn_sink"), (".self_attn.", ".attn."), (".mlp.", ".ffn."),
      (".position_bias", ".ape"), (".q_a_proj.", ".wq_a."), (".q_b_proj.", ".wq_b."), (".q_a_norm.", ".q_norm."),
      (".gate.e_score_correction_bias", ".gate.bias"), (".shared_experts.gate_proj.", ".shared_experts.w1."),
      (".shared_experts.down_proj.", ".shared_experts.w2."), (".shared_experts.up_proj.", ".shared_experts.w3."),
      (".kv_proj.", ".wkv."), (".gate_proj.", ".wgate."), (".o_a_proj.", ".wo_a."), (".o_b_proj.", ".wo_b.")]

def unfuse(sd, v4=False):
    """transformers in-memory names -> names of the published checkpoint (one matrix per expert)."""
    out = {}
    for k, t in sd.items():
        if k.endswith(".mlp.experts.gate_up_proj"):
            b, h = k[:-len("gate_up_proj")], t.shape[1] // 2
            for e in range(t.shape[0]):
                out[f"{b}{e}." + ("w1" if v4 else "gate_proj") + ".weight"] = t[e, :h]
                out[f"{b}{e}." + ("w3" if v4 else "up_proj") + ".weight"] = t[e, h:]
        elif k.endswith(".mlp.experts.down_proj"):
            b = k[:-len("down_proj")]
            for e in range(t.shape[0]):
                out[f"{b}{e}." + ("w2" if v4 else "down_proj") + ".weight"] = t[e]
        else:
            out[k] = t
    if v4:
        res = {}
        for k, t in out.items():
            for a, b in V4:
                k = k.replace(a, b)
            res[k] = t
        out = res
    return out

def gen(seed, name):
    g = torch.Generator(); g.manual_seed((seed * 1000003) ^ zlib.crc32(name.encode())); return g

KEEP32 = ("e_score_correction_bias", "gate.bias", "hc_", "attn_sink", ".ape")
def init(name, shape, seed, cfg):
    g = gen(seed, name); r = lambda: torch.randn(shape, generator=g)
    if name.endswith("tid2eid"):
        return torch.stack([torch.randperm(cfg["n_routed_experts"], generator=g)[:shape[1]] for _ in range(shape[0])]).to(torch.int64)
    if name.endswith("e_score_correction_bias") or name.endswith("gate.bias"): return 0.15 * r()
    if "hc_" in name:
        if name.endswith("fn"): return r() * (1.5 / math.sqrt(shape[1]))
        if name.endswith("scale"): return 0.6 + 0.3 * r().abs()
        return 0.5 * r()
    if name.endswith("attn_sink"): return r()
    if name.endswith(".ape"): return 0.6 * r()
    if "norm" in name and name.endswith("weight"): return 1 + 0.2 * r()
    if name.endswith(".bias"): return 0.2 * r()
    if "embed" in name:
        return r() * (0.45 if cfg.get("tie_word_embeddings") else 0.8)
    if name in ("lm_head.weight", "head.weight") or "shared_head.head" in name: return r() * (3.0 / math.sqrt(shape[1]))
    if name.endswith("gate.weight"): return r() * (1.6 / math.sqrt(shape[1]))
    return r() * (1.2 / math.sqrt(shape[-1]))

def fp8_blocks(w, B=128):
    """Block-scaled e4m3: one fp32 scale (weight_scale_inv) per 128 x 128 tile; last tiles may be partial."""
    O, I = w.shape; no, ni = -(-O // B), -(-I // B)
    q = torch.empty_like(w, dtype=torch.float8_e4m3fn); s = torch.empty(no, ni)
    for i in range(no):
        for j in range(ni):
            t = w[i*B:(i+1)*B, j*B:(j+1)*B]; s[i, j] = t.abs().max() / 448.0
            q[i*B:(i+1)*B, j*B:(j+1)*B] = (t / s[i, j]).to(torch.float8_e4m3fn)
    d = q.to(torch.float32) * s.repeat_interleave(B, 0)[:O].repeat_interleave(B, 1)[:, :I]
    return q, s, d

def e8m0_ceil(x):                                          # smallest power of two >= x
    return torch.pow(2.0, torch.ceil(torch.log2(x.clamp(min=2.0 ** -60))))

def fp8_e8m0(w, B=128):
    O, I = w.shape; no, ni = -(-O // B), -(-I // B); s = torch.empty(no, ni); q = torch.empty_like(w, dtype=torch.float8_e4m3fn)
    for i in range(no):
        for j in range(ni):
            t = w[i*B:(i+1)*B, j*B:(j+1)*B]; s[i, j] = e8m0_ceil(t.abs().max() / 448.0)
            q[i*B:(i+1)*B, j*B:(j+1)*B] = (t / s[i, j]).to(torch.float8_e4m3fn)
    return q, s.to(torch.float8_e8m0fnu), q.float() * s.repeat_interleave(B, 0)[:O].repeat_interleave(B, 1)[:, :I]

def fp4_e8m0(w):
    """Packed e2m1, two per byte (low nibble first), one e8m0 scale per 32 inputs of a row."""
    O, I = w.shape; t = w.view(O, I // 32, 32); s = e8m0_ceil(t.abs().amax(-1) / 6.0)
    lut = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6]); u = t / s[..., None]
    code = (u.abs()[..., None] - lut[:8]).abs().argmin(-1); code = code + 8 * (u < 0).long()
    d = (lut[code] * s[..., None]).view(O, I); c = code.view(O, I // 2, 2)
    return (c[..., 0] | (c[..., 1] << 4)).to(torch.uint8).view(torch.int8), s.to(torch.float8_e8m0fnu), d

# ---------------------------------------------------------------- near-tie detector
class Gaps:
    """Records the smallest distance between the last chosen and the first refused value of every top-k."""
    def __enter__(self):
        self.min = float("inf"); self.o1, self.o2 = torch.topk, torch.Tensor.topk
        def wrap(orig):
            def f(x, k, dim=-1, *a, **kw):
                k_ = int(k)
                if k_ < x.shape[dim]:
                    v = torch.sort(x.detach().float(), dim=dim, descending=True).values
                    a_, b_ = v.narrow(dim, k_ - 1, 1), v.narrow(dim, k_, 1)
                    ok = a_ > -1e30
                    if ok.any(): self.min = min(self.min, float((a_ - b_)[ok].min()))
                return orig(x, k, dim, *a, **kw)
            return f
        torch.topk, torch.Tensor.topk = wrap(self.o1), wrap(self.o2); return self
    def __exit__(self, *a): torch.topk, torch.Tensor.topk = self.o1, self.o2

def num(x): return float("%.9g" % float(x.detach() if torch.is_tensor(x) else x))
def arr(t): return [num(v) for v in t.detach().double().flatten().tolist()]
def mat(t): return [arr(r) for r in t]

def forward(model, ids, rec=None):
    hooks = []
    if rec is not None:
        for n, m in model.named_modules():
            c = type(m).__name__
            if c.endswith("Router"):
                hooks.append(m.register_forward_hook(lambda m, i, o, n=n: rec["router"].append(
                    dict(module=n, experts=o[2][-1].tolist(), weights=arr(o[1][-1])))))
            elif c.endswith("Indexer"):
                hooks.append(m.register_forward_hook(lambda m, i, o, n=n: rec["indexer"].append(
                    dict(module=n, selected=sorted(v for v in o[0, -1].tolist() if v >= 0)))))
    with torch.no_grad(): o = model(input_ids=torch.tensor([ids]), use_cache=False, output_hidden_states=True)
    for h in hooks: h.remove()
    return o

def greedy(model, ids, n):
    ids, out, margin = list(ids), [], float("inf")
    for _ in range(n):
        with torch.no_grad(): l = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        t = torch.sort(l, descending=True).values; margin = min(margin, float(t[0] - t[1])); out.append(int(l.argmax())); ids.append(out[-1])
    return out, margin

def greedy_cached(model, ids, n):
    from transformers import DynamicCache
    cache, out, cur = DynamicCache(config=model.config), [], torch.tensor([ids])
    for _ in range(n):
        with torch.no_grad(): l = model(input_ids=cur, past_key_values=cache, use_cache=True).logits[0, -1]
        out.append(int(l.argmax())); cur = torch.tensor([[out[-1]]])
    return out

# ---------------------------------------------------------------- one case
def build(name, case, d, seed):
    cfg = case["config"]; os.makedirs(d, exist_ok=True)
    hfcfg = {k: v for k, v in cfg.items() if k not in ("quantization_config", "expert_dtype", "scale_fmt")}
    mt = hfcfg["model_type"]
    cls = type(AutoConfig.for_model(mt))
    conf = cls.from_dict(copy.deepcopy(hfcfg)); conf._attn_implementation = "eager"
    with torch.device("cpu"): shell = AutoModelForCausalLM.from_config(conf, dtype=torch.float32, attn_implementation="eager")
    v4 = case.get("v4", False)
    shapes = {k: tuple(t.shape) for k, t in unfuse(shell.state_dict(), v4).items()}
    if cfg.get("tie_word_embeddings"): shapes.pop("lm_head.weight", None)
    N = cfg["num_hidden_layers"]
    if case.get("mtp"):                                   # published layout: one more layer index, plus the five extras
        pre, H, V = f"model.layers.{N}.", cfg["hidden_size"], cfg["vocab_size"]
        for k, sh in list(shapes.items()):
            if k.startswith(f"model.layers.{N-1}."): shapes[pre + k.split(".", 3)[3]] = sh
        shapes.update({pre + "enorm.weight": (H,), pre + "hnorm.weight": (H,), pre + "eh_proj.weight": (H, 2 * H),
                       pre + "shared_head.norm.weight": (H,), pre + "embed_tokens.weight": (V, H), pre + "shared_head.head.weight": (V, H)})
    sd, deq = {}, {}
    for k in sorted(shapes):
        t = init(k, shapes[k], seed, cfg)
        if t.is_floating_point() and case["dtype"] == "BF16" and not any(x in k for x in KEEP32): t = t.to(torch.bfloat16)
        if case.get("fp8") and t.dim() == 2 and "_proj" in k:
            sd[k], sd[k + "_scale_inv"], deq[k] = fp8_blocks(t.float()); continue
        if case.get("fp4") and t.dim() == 2 and k.endswith(".weight"):
            base = k[:-len("weight")]
            if ".experts." in k: sd[k], sd[base + "scale"], deq[k] = fp4_e8m0(t.float()); continue
            if any(x in k for x in (".attn.wq_", ".attn.wkv", ".attn.wo_", ".indexer.wq_b", ".shared_experts.")):
                sd[k], sd[base + "scale"], deq[k] = fp8_e8m0(t.float()); continue
        sd[k] = deq[k] = t
    if case.get("mtp"):                                   # the two shared matrices are stored again, equal
        for a, b in (("embed_tokens.weight", "model.embed_tokens.weight"), ("shared_head.head.weight", "lm_head.weight")):
            sd[pre + a] = deq[pre + a] = sd[b].clone()
    sd = {k: t.contiguous().clone() for k, t in sd.items()}
    save_file(sd, f"{d}/model.safetensors", metadata={"format": "pt"})
    json.dump(cfg, open(f"{d}/config.json", "w"), indent=1)
    # reload through from_pretrained so that the files themselves are what is measured
    ld = d
    if case.get("fp8") or case.get("fp4"):
        ld = d + ".deq"; os.makedirs(ld, exist_ok=True)
        save_file({k: t.contiguous().clone() for k, t in deq.items()}, f"{ld}/model.safetensors", metadata={"format": "pt"})
        json.dump(hfcfg, open(f"{ld}/config.json", "w"))
    MC = type(shell)
    if case.get("mtp"): MC._keys_to_ignore_on_load_unexpected = [rf"model\.layers\.{N}\..*"]
    model, info = MC.from_pretrained(ld, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager", output_loading_info=True)
    bad = {k: v for k, v in info.items() if v and k in ("missing_keys", "mismatched_keys", "unexpected_keys")}
    assert not bad, bad
    model.eval()
    for k, t in unfuse(model.state_dict(), v4).items():   # what was loaded is what was written
        if k in deq: assert torch.equal(t.float(), deq[k].float()), k
    if ld != d: import shutil; shutil.rmtree(ld)
    return model, deq

def make(name, case, d, seed):
    model, deq = build(name, case, d, seed)
    cfg = case["config"]; V = cfg["vocab_size"]; v4 = case.get("v4", False)
    exp = dict(format=1, case=name, seed=seed, made_with=dict(transformers=transformers.__version__, torch=torch.__version__),
               arithmetic="weights exactly as stored (FP8: value*scale), every operation in fp32, eager attention, no cache",
               hidden_norms_meaning="L2 norm over all positions: [embedding output, after each decoder layer but the last, after final norm]; "
                                    "last_layer_norm = output of the last decoder layer before the final norm", prompts=[])
    noisy = copy.deepcopy(model)
    with torch.no_grad():
        for i, (k, t) in enumerate(noisy.named_parameters()):
            if t.is_floating_point(): t.mul_(1 + 2e-6 * torch.randn(t.shape, generator=gen(7, k)))
    pi = 0
    for length in case.get("lengths", (24, 37)):
        for attempt in range(400):
            g = gen(seed + 17 * attempt, f"prompt{pi}"); ids = torch.randint(3, V, (length,), generator=g).tolist()
            with Gaps() as gp: out, margin = greedy(model, ids, 16)
            rec = dict(router=[], indexer=[]); o = forward(model, ids, rec)
            dn = float((forward(noisy, ids).logits - o.logits).abs().max())
            if margin > 2e-3 and gp.min > 2e-5 and dn < 2e-3: break
        else: raise SystemExit(f"{name}: no stable prompt")
        gc = greedy_cached(model, ids, 16)
        last = {}
        h = model.model.layers[cfg["num_hidden_layers"] - 1].register_forward_hook(lambda m, i, r: last.update(x=r[0] if isinstance(r, tuple) else r))
        forward(model, ids); h.remove()
        hs = o.hidden_states
        p = dict(input_ids=ids, logits_last4=mat(o.logits[0, -4:]), argmax_all=o.logits[0].argmax(-1).tolist(),
                 hidden_norms=[num(x.double().norm()) for x in hs], last_layer_norm=num(last["x"].double().norm()),
                 hidden_last_position=[arr(x[0, -1]) for x in hs], greedy_16=out, greedy_min_margin=num(margin),
                 greedy_with_cache_equal=(gc == out), topk_min_gap=num(gp.min) if gp.min < 1e30 else None,
                 logit_change_under_2e6_weight_noise=num(dn))
        if rec["router"]: p["router_last_position"] = rec["router"]
        if rec["indexer"]: p["indexer_last_position"] = rec["indexer"]
        exp["prompts"].append(p); pi += 1
    if case.get("mtp"): exp["mtp"] = mtp(model, d, exp)
    if case["train"]:
        for attempt in range(400):
            g = gen(seed + 31 * attempt, "batch"); ids = torch.randint(3, V, (2, 28), generator=g)
            with Gaps() as gp, torch.no_grad(): model(input_ids=ids)
            if gp.min > 2e-5: break
        else: raise SystemExit(f"{name}: no stable batch")
        labels = ids.clone(); labels[1, :5] = -100        # ignored targets
        model.zero_grad(); r = model(input_ids=ids, labels=labels, use_cache=False); r.loss.backward()
        gr = {k: (t.grad if t.grad is not None else torch.zeros_like(t)) for k, t in model.named_parameters()}
        exp["train"] = dict(input_ids=ids.tolist(), labels=labels.tolist(), loss=num(r.loss),
            meaning="labels[t] is the token AT t; logits[t-1] predicts it; -100 is ignored; mean over counted targets of both rows",
            targets=int((labels[:, 1:] != -100).sum()), grad_l2={k: num(t.double().norm()) for k, t in sorted(unfuse(gr, v4).items())},
            grad_first4={k: arr(t.flatten()[:4]) for k, t in sorted(unfuse(gr, v4).items())})
    json.dump(exp, open(f"{d}/expected.json", "w"), separators=(",", ":"))
    sz = os.path.getsize(f"{d}/model.safetensors")
    print(f"{name:18s} {sz:8d} B  margin {[p['greedy_min_margin'] for p in exp['prompts']]} gap {[p['topk_min_gap'] for p in exp['prompts']]} "
          f"cache {[p['greedy_with_cache_equal'] for p in exp['prompts']]} loss {exp.get('train', {}).get('loss')}", flush=True)
    assert sz < 600 * 1024, "too big"

def mtp(model, d, exp):
    """MTP module 0: input embedding of token t+1 and the main model's final-normed hidden of t; predicts token t+2."""
    from transformers.modeling_layers import MtpModel
    m = MtpModel.from_pretrained(model); m.eval()
    m.config._attn_implementation = "eager"; res = []
    for p in exp["prompts"]:
        ids = torch.tensor([p["input_ids"]])
        with torch.no_grad():
            h = model.model(input_ids=ids, use_cache=False).last_hidden_state
            S = ids.shape[1] - 1; pos = torch.arange(1, S + 1)[None]
            emb = m.embed_tokens(ids[:, 1:])
            mask = torch.full((S, S), torch.finfo(torch.float32).min).triu(1)[None, None]
            x = m.layers[0](emb, h[:, :-1], position_embeddings=m.rotary_emb(emb, position_ids=pos), attention_mask=mask, position_ids=pos, past_key_values=None)
            lg = m._project_to_logits(x)[0]
        res.append(dict(logits_last4=mat(lg[-4:]), argmax_all=lg.argmax(-1).tolist(), hidden_norm_after_shared_head_norm=num(x.double().norm())))
    return dict(meaning="row i: embed(token i+1) and final-normed main hidden at i, position i+1; logits predict token i+2", prompts=res)

if __name__ == "__main__":
    ap = argparse.ArgumentParser(); ap.add_argument("--out"); ap.add_argument("--set", type=int, default=1); ap.add_argument("--only", nargs="*"); ap.add_argument("--seed", type=int)
    a = ap.parse_args(); out = a.out or os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "golden")
    for name, case in cases(a.set).items():
        if a.only and name not in a.only: continue
        try: make(name, case, f"{out}/{name}", a.seed or (20251 if a.set == 1 else 1))
        except Exception as e:
            import traceback; traceback.print_exc(); print(f"{name}: FAILED {e}", flush=True)
