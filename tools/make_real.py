#!/usr/bin/env python3
"""Goldens of real small models from GGUF files: dequantize with gguf-py, run in fp32 with transformers.

  make_real.py MODEL.gguf OUT.json
"""
import json, os, sys
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np, torch, transformers
from gguf import GGUFReader, dequantize
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import make_tok
torch.set_num_threads(2)

def load(path):
    r = GGUFReader(path); f = lambda k, d=None: r.fields[k].contents() if k in r.fields else d
    A = f("general.architecture"); g = lambda k, d=None: f(f"{A}.{k}", d)
    T = {t.name: torch.from_numpy(np.array(dequantize(t.data, t.tensor_type), dtype=np.float32)) for t in r.tensors}
    H, nh = g("embedding_length"), g("attention.head_count"); kv = g("attention.head_count_kv"); hd = H // nh; tied = "output.weight" not in T
    kw = dict(vocab_size=T["token_embd.weight"].shape[0], hidden_size=H, intermediate_size=g("feed_forward_length"), num_hidden_layers=g("block_count"),
        num_attention_heads=nh, num_key_value_heads=kv, rms_norm_eps=g("attention.layer_norm_rms_epsilon"), max_position_embeddings=g("context_length"),
        rope_parameters=dict(rope_type="default", rope_theta=g("rope.freq_base")), tie_word_embeddings=tied, bos_token_id=f("tokenizer.ggml.bos_token_id"), eos_token_id=f("tokenizer.ggml.eos_token_id"))
    C, M = (Qwen2Config, Qwen2ForCausalLM) if A == "qwen2" else (LlamaConfig, LlamaForCausalLM)
    c = C(**kw); c._attn_implementation = "eager"
    with torch.device("meta"): m = M(c)
    names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
             "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    sd = {}
    for k, t in T.items():
        if k.startswith("blk."):
            _, i, n, w = k.split(".")
            if A == "llama" and n in ("attn_q", "attn_k"):   # llama.cpp stores rotary rows interleaved; undo to half-split
                h = nh if n == "attn_q" else kv; t = t.reshape(h, t.shape[0] // h // 2, 2, *t.shape[1:]).swapaxes(1, 2).reshape(t.shape)
            sd[f"model.layers.{i}.{names[n]}.{w}"] = t.contiguous()
        else: sd[{"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight"}[k]] = t
    if tied: sd["lm_head.weight"] = sd["model.embed_tokens.weight"]
    m.load_state_dict(sd, assign=True, strict=True)
    rot = type(m.model.rotary_emb)(c); m.model.rotary_emb = rot
    return m.eval(), r

PROMPTS = [[dict(role="user", content="Write a C function that returns the larger of two integers.")],
           [dict(role="system", content="You answer in one short sentence."), dict(role="user", content="What is the capital of France?")],
           [dict(role="user", content="What is 17 + 25?"), dict(role="assistant", content="42"), dict(role="user", content="Now subtract 10 from it. Explain step by step.")]]

def main():
    path, out = sys.argv[1:3]
    m, r = load(path); pre = r.fields["tokenizer.ggml.pre"].contents(); tok = make_tok.build(path, "qwen2" if pre == "qwen2" else "smollm")[0]
    tmpl = r.fields["tokenizer.chat_template"].contents(); res = []
    for cv in PROMPTS:
        text = make_tok.render(tmpl, dict(messages=cv, add_generation_prompt=True)); ids = tok.encode(text, add_special_tokens=False).ids
        with torch.no_grad(): o = m(input_ids=torch.tensor([ids]), use_cache=True, output_hidden_states=True)
        l = o.logits[0, -1]; v, i = l.topk(5); hs = [float("%.9g" % x.double().norm()) for x in o.hidden_states]
        gen, margins, pk, cur = [], [], o.past_key_values, l
        lp = torch.log_softmax(o.logits[0, :-1].double(), -1).gather(1, torch.tensor(ids[1:])[:, None]).sum()
        for _ in range(32):
            t = torch.topk(cur, 2); gen.append(int(t.indices[0])); margins.append(float("%.6g" % (t.values[0] - t.values[1])))
            with torch.no_grad(): cur = m(input_ids=torch.tensor([[gen[-1]]]), past_key_values=pk, use_cache=True).logits[0, -1]
        res.append(dict(messages=cv, rendered=text, ids=ids, top5=[[int(a), float("%.9g" % b)] for a, b in zip(i, v)], logit_mean=float("%.9g" % l.double().mean()),
            logit_l2=float("%.9g" % l.double().norm()), prompt_logprob_sum=float("%.9g" % lp), hidden_norms=hs, greedy_32=gen, margins=margins,
            greedy_text=tok.decode(gen, skip_special_tokens=False)))
        print(res[-1]["top5"][:2], repr(res[-1]["greedy_text"][:150]), min(margins), flush=True)
    from collections import Counter
    json.dump(dict(file=os.path.basename(path), bytes=os.path.getsize(path), arithmetic="weights dequantized by gguf-py to fp32, fp32 arithmetic, eager attention; greedy_32 does not stop at EOS",
        made_with=dict(transformers=transformers.__version__, torch=torch.__version__), types=dict(Counter(t.tensor_type.name for t in r.tensors)), prompts=res), open(out, "w"), indent=0)
main()
