#!/usr/bin/env python3
"""Write F32 GGUF twins of some cases: CASE/model.gguf holds the same weights under llama.cpp's names, so CASE/expected.json applies.
CASE/whole_kv_b.gguf is a deepseek2 file as written before latent attention was split: attn_kv_b whole, plain head sizes.

  make_gguf.py [DIR]          (default tests/golden; needs numpy and gguf)
"""
import json, os, sys
import numpy as np
from gguf import GGUFWriter, RopeScalingType
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ref_numpy import load
GOLDEN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "golden")
ARCH = dict(llama="llama", qwen2="qwen2", qwen3="qwen3", deepseek_v2="deepseek2", deepseek_v3="deepseek2", deepseek_v32="deepseek32")
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
SUB = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "self_attn.q_a_proj": "attn_q_a", "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.q_b_proj": "attn_q_b", "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm", "self_attn.indexer.wq_b": "indexer.attn_q_b", "self_attn.indexer.wk": "indexer.attn_k", "self_attn.indexer.k_norm": "indexer.k_norm", "self_attn.indexer.weights_proj": "indexer.proj",
    "mlp.gate": "ffn_gate_inp", "mlp.shared_experts.gate_proj": "ffn_gate_shexp", "mlp.shared_experts.up_proj": "ffn_up_shexp", "mlp.shared_experts.down_proj": "ffn_down_shexp"}
def permute(w, n): return w.reshape(n, 2, w.shape[0] // n // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)
def write(d, is_old=False):
    c = json.load(open(d + "/config.json")); T = load(d + "/model.safetensors"); a = ARCH[c["model_type"]]; L, nh = c["num_hidden_layers"], c["num_attention_heads"]; mla = a.startswith("deepseek")
    path = d + ("/whole_kv_b.gguf" if is_old else "/model.gguf"); w = GGUFWriter(path, a); w.add_name(os.path.basename(d)); w.add_block_count(L); w.add_context_length(c["max_position_embeddings"]); w.add_embedding_length(c["hidden_size"])
    w.add_feed_forward_length(c["intermediate_size"]); w.add_head_count(nh); w.add_head_count_kv(1 if mla and not is_old else c["num_key_value_heads"]); w.add_layer_norm_rms_eps(c["rms_norm_eps"]); w.add_vocab_size(c["vocab_size"])
    rp = c.get("rope_parameters") or {}; w.add_rope_freq_base(float(c.get("rope_theta", rp.get("rope_theta", 1e4)))); w.add_file_type(0)
    hd = c.get("head_dim") or c["hidden_size"] // nh
    if mla:
        r, dr, dn, dv = (c[k] for k in ("kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim")); v3 = c["model_type"] != "deepseek_v2"
        w.add_leading_dense_block_count(c["first_k_dense_replace"]); w.add_kv_lora_rank(r)
        if is_old: w.add_key_length(dn + dr); w.add_value_length(dv)
        else: w.add_key_length(r + dr); w.add_value_length(r); w.add_key_length_mla(dn + dr); w.add_value_length_mla(dv)
        w.add_rope_dimension_count(dr)
        if c["q_lora_rank"]: w.add_q_lora_rank(c["q_lora_rank"])
        w.add_expert_count(c["n_routed_experts"]); w.add_expert_used_count(c["num_experts_per_tok"]); w.add_expert_shared_count(c["n_shared_experts"]); w.add_expert_feed_forward_length(c["moe_intermediate_size"])
        w.add_expert_weights_scale(float(c["routed_scaling_factor"])); w.add_expert_weights_norm(bool(c["norm_topk_prob"])); w.add_uint32(f"{a}.expert_gating_func", 2 if v3 else 1)
        w.add_uint32(f"{a}.expert_group_count", c["n_group"]); w.add_uint32(f"{a}.expert_group_used_count", c["topk_group"])
        if a == "deepseek32":
            for k, v in (("head_count", "index_n_heads"), ("key_length", "index_head_dim"), ("top_k", "index_topk")): w.add_uint32(f"{a}.attention.indexer.{k}", c[v])
    else: w.add_key_length(hd); w.add_value_length(hd); w.add_rope_dimension_count(hd)
    sc = c.get("rope_scaling")
    if sc and sc.get("type") == "yarn":
        w.add_rope_scaling_type(RopeScalingType.YARN); w.add_rope_scaling_factor(float(sc["factor"])); w.add_rope_scaling_orig_ctx_len(sc["original_max_position_embeddings"])
        w.add_float32(f"{a}.rope.scaling.yarn_beta_fast", float(sc["beta_fast"])); w.add_float32(f"{a}.rope.scaling.yarn_beta_slow", float(sc["beta_slow"]))
        if "mscale_all_dim" in sc: w.add_float32(f"{a}.rope.scaling.yarn_log_multiplier", 0.1 * sc["mscale_all_dim"])
    w.add_string("tokenizer.ggml.model", "no_vocab")
    put = lambda n, x: w.add_tensor(n, np.ascontiguousarray(x, dtype=np.float32))
    for k, x in T.items():
        base, suf = k.rsplit(".", 1) if not k.endswith("correction_bias") else (k, "bias")
        if base in TOP: put(f"{TOP[base]}.{suf}", x); continue
        _, _, i, rest = base.split(".", 3)
        if int(i) >= L: continue                           # MTP layer left out, as llama.cpp's converter does for deepseek2
        if rest == "self_attn.kv_b_proj" and is_old: put(f"blk.{i}.attn_kv_b.weight", x)
        elif rest == "self_attn.kv_b_proj":
            kv = x.reshape(nh, dn + dv, r); put(f"blk.{i}.attn_k_b.weight", kv[:, :dn].transpose(0, 2, 1)); put(f"blk.{i}.attn_v_b.weight", kv[:, dn:])
        elif rest == "mlp.gate.e_score_correction_bias": put(f"blk.{i}.exp_probs_b.bias", x)
        elif ".experts." in rest:
            if rest.startswith("mlp.experts.0."):
                n = rest.split(".")[-1]; put(f"blk.{i}.ffn_{n[:-5]}_exps.weight", np.stack([T[f"model.layers.{i}.mlp.experts.{e}.{n}.weight"] for e in range(c["n_routed_experts"])]))
        else:
            if a == "llama" and rest in ("self_attn.q_proj", "self_attn.k_proj"): x = permute(x, nh if "q_proj" in rest else c["num_key_value_heads"])
            put(f"blk.{i}.{SUB[rest]}.{suf}", x)
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close(); print(path, os.path.getsize(path))
if __name__ == "__main__":
    for n in ("llama", "qwen2", "qwen3", "deepseek_v2", "deepseek_v3", "deepseek_v32"): write(f"{sys.argv[1] if len(sys.argv) > 1 else GOLDEN}/{n}")
    write(f"{sys.argv[1] if len(sys.argv) > 1 else GOLDEN}/deepseek_v2", is_old=True)
