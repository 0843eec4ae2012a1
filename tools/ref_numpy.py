#!/usr/bin/env python3
"""Every family's forward pass in plain numpy (float64), read from the case directory alone.

  ref_numpy.py CASE_DIR...      prints the largest difference from expected.json (logits, hidden norms, greedy argmax, MTP)
No torch, no transformers: needs numpy only. Written from the equations, so that the goldens and the equations check each other.
"""
import json, math, struct, sys
import numpy as np

# ---------------------------------------------------------------- safetensors, with bf16 / fp8 / fp4 decoding
def e4m3():
    t = np.zeros(256)
    for b in range(256):
        s, e, m = -1 if b & 128 else 1, (b >> 3) & 15, b & 7
        t[b] = np.nan if (b & 127) == 127 else s * (m / 8 * 2.0 ** -6 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7))
    return t
E4M3 = e4m3(); FP4 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6])
def load(path):
    raw = open(path, "rb").read(); n = struct.unpack("<Q", raw[:8])[0]; hdr = json.loads(raw[8:8+n]); T, kind = {}, {}
    for k, v in hdr.items():
        if k == "__metadata__": continue
        a, b = v["data_offsets"]; d = raw[8+n+a:8+n+b]; sh = v["shape"]; y = v["dtype"]; kind[k] = y
        if y == "F32": x = np.frombuffer(d, "<f4").astype(np.float64)
        elif y == "BF16": x = (np.frombuffer(d, "<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        elif y == "F8_E4M3": x = E4M3[np.frombuffer(d, np.uint8)]
        elif y == "F8_E8M0": x = 2.0 ** (np.frombuffer(d, np.uint8).astype(float) - 127)
        elif y == "I8":
            u = np.frombuffer(d, np.uint8); x = np.stack([FP4[u & 15], FP4[u >> 4]], -1).reshape(-1); sh = [sh[0], sh[1] * 2]
        elif y == "I32": x = np.frombuffer(d, "<i4")
        elif y == "I64": x = np.frombuffer(d, "<i8")
        T[k] = x.reshape(sh)
    for k in list(T):
        for s, base in (("_scale_inv", k[:-10]), (".scale", k[:-6] + ".weight")):
            if k.endswith(s) and base in T and kind[base] in ("F8_E4M3", "I8"):
                w, sc = T[base], T.pop(k); r, c = (128, 128) if kind[base] == "F8_E4M3" else (1, 32)
                T[base] = w * np.repeat(np.repeat(sc, r, 0)[:w.shape[0]], c, 1)[:, :w.shape[1]]; break
    return T

# ---------------------------------------------------------------- pieces
rms = lambda x, w, eps: x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w
sig = lambda x: 1 / (1 + np.exp(-x)); silu = lambda x: x * sig(x)
def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True)); return e / e.sum(-1, keepdims=True)
def inv_freq(dim, theta, sc, force_factor=None):
    """Returns (inverse frequencies [dim/2], factor on cos and sin)."""
    f = theta ** (-np.arange(0, dim, 2) / dim); kind = (sc or {}).get("rope_type", (sc or {}).get("type", "default"))
    if kind == "default": return f, 1.0
    if kind == "linear": return f / sc["factor"], 1.0
    orig, s = sc["original_max_position_embeddings"], sc["factor"]
    if kind == "llama3":
        wl = 2 * np.pi / f; lo, hi = sc["low_freq_factor"], sc["high_freq_factor"]; t = (orig / wl - lo) / (hi - lo)
        return np.where(wl < orig / hi, f, np.where(wl > orig / lo, f / s, (1 - t) * f / s + t * f)), 1.0
    assert kind == "yarn"
    ms = lambda m: 1.0 if s <= 1 else 0.1 * m * math.log(s) + 1
    a, b = sc.get("mscale"), sc.get("mscale_all_dim")
    att = force_factor if force_factor else (ms(a) / ms(b) if a and b else ms(1))
    cd = lambda rot: dim * math.log(orig / (rot * 2 * math.pi)) / (2 * math.log(theta))
    low, high = max(math.floor(cd(sc.get("beta_fast") or 32)), 0), min(math.ceil(cd(sc.get("beta_slow") or 1)), dim - 1)
    if low == high: high += 0.001
    ramp = np.clip((np.arange(dim // 2) - low) / (high - low), 0, 1)
    return f / s * ramp + f * (1 - ramp), att
def rope(x, pos, f, att, inter, sign=1):
    """x [S, heads, dim], rotates the whole of dim. inter: pairs (2i, 2i+1), else pairs (i, i + dim/2)."""
    a = pos[:, None, None] * f; c, s = np.cos(a) * att, sign * np.sin(a) * att; y = np.empty_like(x)
    if inter: u, v = x[..., 0::2], x[..., 1::2]; y[..., 0::2], y[..., 1::2] = u * c - v * s, v * c + u * s
    else: h = x.shape[-1] // 2; u, v = x[..., :h], x[..., h:]; y[..., :h], y[..., h:] = u * c - v * s, v * c + u * s
    return y
def topk(x, k): return np.argsort(-x, -1, kind="stable")[..., :k]

class Model:
    def __init__(self, d):
        self.c = c = json.load(open(d + "/config.json")); self.T = load(d + "/model.safetensors"); self.v4 = c["model_type"] == "deepseek_v4"
        rp = c.get("rope_parameters") or {}; self.theta = c.get("rope_theta", rp.get("rope_theta", 10000.0)); self.sc = c.get("rope_scaling") or (rp if rp.get("rope_type", "default") != "default" else None)
        self.L = c["num_hidden_layers"]; self.eps = c["rms_norm_eps"]
    def lin(self, x, n):
        y = x @ self.T[n + ".weight"].T
        return y + self.T[n + ".bias"] if n + ".bias" in self.T else y
    def mlp(self, x, p): return self.lin(silu(self.lin(x, p + "gate_proj")) * self.lin(x, p + "up_proj"), p + "down_proj")

    # ---- llama, qwen2, qwen3
    def gqa(self, x, p, i, pos):
        c, S = self.c, len(x); nh, nk = c["num_attention_heads"], c["num_key_value_heads"]; hd = c.get("head_dim") or c["hidden_size"] // nh
        q, k, v = (self.lin(x, p + n).reshape(S, h, hd) for n, h in (("q_proj", nh), ("k_proj", nk), ("v_proj", nk)))
        if p + "q_norm.weight" in self.T: q, k = rms(q, self.T[p + "q_norm.weight"], self.eps), rms(k, self.T[p + "k_norm.weight"], self.eps)
        f, att = inv_freq(hd, self.theta, self.sc); q, k = rope(q, pos, f, att, False), rope(k, pos, f, att, False)
        k, v = np.repeat(k, nh // nk, 1), np.repeat(v, nh // nk, 1)
        s = np.einsum("shd,thd->hst", q, k) * hd ** -0.5; a, b = np.arange(S)[:, None], np.arange(S)[None]; ok = b <= a
        if c.get("use_sliding_window") and i >= c.get("max_window_layers", 0): ok &= a - b < c["sliding_window"]
        o = np.einsum("hst,thd->shd", softmax(np.where(ok, s, -np.inf)), v); return self.lin(o.reshape(S, -1), p + "o_proj")

    # ---- MLA (deepseek v2, v3, v3.2), the expanded form
    def mla(self, x, p, i, pos):
        c, S, T = self.c, len(x), self.T; nh, dn, dr, dv, r = (c[k] for k in ("num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank"))
        qr = None
        if c.get("q_lora_rank"): qr = rms(self.lin(x, p + "q_a_proj"), T[p + "q_a_layernorm.weight"], 1e-6); q = self.lin(qr, p + "q_b_proj")
        else: q = self.lin(x, p + "q_proj")
        q = q.reshape(S, nh, dn + dr); kv = self.lin(x, p + "kv_a_proj_with_mqa"); lat = rms(kv[:, :r], T[p + "kv_a_layernorm.weight"], 1e-6)
        f, att = inv_freq(dr, self.theta, self.sc); kr = rope(kv[:, None, r:], pos, f, att, True)[:, 0]; qrot = rope(q[..., dn:], pos, f, att, True)
        scale = (dn + dr) ** -0.5
        if self.sc and self.sc.get("mscale_all_dim"): scale *= (1 if self.sc["factor"] <= 1 else 0.1 * self.sc["mscale_all_dim"] * math.log(self.sc["factor"]) + 1) ** 2
        W = T[p + "kv_b_proj.weight"].reshape(nh, dn + dv, r); Wk, Wv = W[:, :dn], W[:, dn:]
        qa = np.einsum("shd,hdr->shr", q[..., :dn], Wk)                       # absorbed: query in latent space
        s = (np.einsum("shr,tr->hst", qa, lat) + np.einsum("shd,td->hst", qrot, kr)) * scale
        ok = np.tril(np.ones((S, S), bool))
        if c["model_type"] == "deepseek_v32": ok &= self.dsa(x, qr, p + "indexer.", pos, f, att, ok)
        o = np.einsum("hst,tr->shr", softmax(np.where(ok, s, -np.inf)), lat)  # context in latent space
        return self.lin(np.einsum("shr,hvr->shv", o, Wv).reshape(S, -1), p + "o_proj")
    def dsa(self, x, qr, p, pos, f, att, ok):
        c, S, T = self.c, len(x), self.T; H, D, dr = c["index_n_heads"], c["index_head_dim"], c["qk_rope_head_dim"]
        q = self.lin(qr, p + "wq_b").reshape(S, H, D); k = x @ T[p + "wk.weight"].T
        k = (k - k.mean(-1, keepdims=True)) / np.sqrt(k.var(-1, keepdims=True) + 1e-6) * T[p + "k_norm.weight"] + T[p + "k_norm.bias"]; k = k[:, None]
        q = np.concatenate([rope(q[..., :dr], pos, f, att, False), q[..., dr:]], -1); k = np.concatenate([rope(k[..., :dr], pos, f, att, False), k[..., dr:]], -1)[:, 0]
        w = x @ T[p + "weights_proj.weight"].T * H ** -0.5
        s = np.einsum("sh,sht->st", w, np.maximum(np.einsum("shd,td->sht", q, k) * D ** -0.5, 0)); s = np.where(ok, s, -np.inf)
        m = np.zeros((S, S), bool); np.put_along_axis(m, topk(s, min(c["index_topk"], S)), True, 1); return m

    # ---- routers and experts
    def moe(self, x, p):
        c, T = self.c, self.T; mt = c["model_type"]; z = x @ T[p + "gate.weight"].T; k = c["num_experts_per_tok"]; n = z.shape[1]
        if mt in ("qwen3_moe", "deepseek_v2"):
            s = softmax(z); ch = s
            if c.get("topk_method") == "group_limited_greedy": ch = self.groups(s, lambda g: g.max(-1), 0.0)
        else:
            s = sig(z); ch = self.groups(s + T[p + "gate.e_score_correction_bias"], lambda g: np.sort(g, -1)[..., -2:].sum(-1), -np.inf)
        idx = topk(ch, k); w = np.take_along_axis(s, idx, 1)
        if mt != "deepseek_v2" and c["norm_topk_prob"]: w = w / (w.sum(-1, keepdims=True) + (1e-20 if mt != "qwen3_moe" else 0))
        w = w * c.get("routed_scaling_factor", 1.0); y = np.zeros_like(x)
        for t in range(len(x)):
            for e, g in zip(idx[t], w[t]): y[t] += g * self.mlp(x[t], f"{p}experts.{e}.")
        return y + (self.mlp(x, p + "shared_experts.") if p + "shared_experts.gate_proj.weight" in T else 0)
    def groups(self, s, score, fill):
        G, kg = self.c.get("n_group") or 1, self.c.get("topk_group") or 1; g = s.reshape(len(s), G, -1); keep = topk(score(g), kg)
        m = np.zeros((len(s), G), bool); np.put_along_axis(m, keep, True, 1); return np.where(m[..., None], g, fill).reshape(s.shape)

    def block(self, x, i, pos):
        p = f"model.layers.{i}."; T = self.T; att = self.mla if "kv_lora_rank" in self.c else self.gqa
        x = x + att(rms(x, T[p + "input_layernorm.weight"], self.eps), p + "self_attn.", i, pos); h = rms(x, T[p + "post_attention_layernorm.weight"], self.eps)
        return x + (self.moe(h, p + "mlp.") if p + "mlp.gate.weight" in T else self.mlp(h, p + "mlp."))
    def head(self, x): return x @ self.T["lm_head.weight" if "lm_head.weight" in self.T else "model.embed_tokens.weight"].T
    def forward(self, ids):
        if self.v4: return self.forward4(ids)
        x = self.T["model.embed_tokens.weight"][ids]; pos = np.arange(len(ids)); hs = [x]
        for i in range(self.L): x = self.block(x, i, pos); hs.append(x)
        hs[-1] = self.norm = rms(x, self.T["model.norm.weight"], self.eps); return self.head(hs[-1]), hs
    def mtp(self, ids):
        p, T = f"model.layers.{self.L}.", self.T; pos = np.arange(1, len(ids))
        e = rms(T["model.embed_tokens.weight"][ids[1:]], T[p + "enorm.weight"], self.eps); h = rms(self.norm[:-1], T[p + "hnorm.weight"], self.eps)
        x = self.block(np.concatenate([e, h], -1) @ T[p + "eh_proj.weight"].T, self.L, pos); return self.head(rms(x, T[p + "shared_head.norm.weight"], self.eps))

    # ---- deepseek v4
    def types(self):
        c = self.c
        if "layer_types" in c: return [dict(sliding_attention=0, compressed_sparse_attention=1, heavily_compressed_attention=2)[t] for t in c["layer_types"]]
        return [{0: 0, 4: 1, 128: 2}[r] for r in c["compress_ratios"][:self.L]]
    def hc(self, X, p):
        n, eps, T, S = self.c["hc_mult"], self.c["hc_eps"], self.T, len(X); z = rms(X.reshape(S, -1), 1, self.eps) @ T[p + "fn"].T; a, b = T[p + "scale"], T[p + "base"]
        pre = sig(z[:, :n] * a[0] + b[:n]) + eps; post = 2 * sig(z[:, n:2*n] * a[1] + b[n:2*n]); C = softmax((z[:, 2*n:] * a[2] + b[2*n:]).reshape(S, n, n)) + eps
        C = C / (C.sum(1, keepdims=True) + eps)
        for _ in range(self.c["hc_sinkhorn_iters"] - 1): C = C / (C.sum(2, keepdims=True) + eps); C = C / (C.sum(1, keepdims=True) + eps)
        return np.einsum("sn,snd->sd", pre, X), post, C
    def compress(self, x, p, m, D, overlap, f):
        T, S = self.T, len(x); n = S // m
        if n == 0: return np.zeros((0, D))
        kv = (x @ T[p + "wkv.weight"].T)[:n*m].reshape(n, m, -1); g = (x @ T[p + "wgate.weight"].T)[:n*m].reshape(n, m, -1) + T[p + "ape"]
        if overlap:                                        # [:D] of the window before, [D:] of this one
            pk, pg = np.zeros((n, m, D)), np.full((n, m, D), -np.inf); pk[1:], pg[1:] = kv[:-1, :, :D], g[:-1, :, :D]
            kv, g = np.concatenate([pk, kv[..., D:]], 1), np.concatenate([pg, g[..., D:]], 1)
        w = softmax(np.moveaxis(g, 1, -1)); y = rms((np.moveaxis(kv, 1, -1) * w).sum(-1), T[p + "norm.weight"], self.eps); return self.tail(y[:, None], np.arange(n) * m, f)[:, 0]
    def tail(self, x, pos, f, sign=1):
        d = 2 * len(f); return np.concatenate([x[..., :-d], rope(x[..., -d:], pos, f, 1.0, True, sign)], -1)
    def att4(self, x, p, i, pos):
        c, S, T = self.c, len(x), self.T; nh, D, dr, ty = c["num_attention_heads"], c["head_dim"], c["qk_rope_head_dim"], self.types()[i]
        rates = c.get("compress_rates") or {}; m = [0, rates.get("compressed_sparse_attention", 4), rates.get("heavily_compressed_attention", 128)][ty]
        f = inv_freq(dr, c["compress_rope_theta"], c.get("rope_scaling"), 1.0)[0] if ty else inv_freq(dr, c["rope_theta"], None)[0]
        qr = rms(x @ T[p + "wq_a.weight"].T, T[p + "q_norm.weight"], self.eps); q = rms((qr @ T[p + "wq_b.weight"].T).reshape(S, nh, D), 1, self.eps); q = self.tail(q, pos, f)
        kv = self.tail(rms(x @ T[p + "wkv.weight"].T, T[p + "kv_norm.weight"], self.eps)[:, None], pos, f)[:, 0]
        a, b = np.arange(S)[:, None], np.arange(S)[None]; ok = (b <= a) & (a - b < c["sliding_window"]); K = kv
        if ty:
            comp = self.compress(x, p + "compressor.", m, D, ty == 1, f); n = len(comp); ready = np.arange(n)[None] < (pos[:, None] + 1) // m
            if ty == 1 and n:
                H, DI = c["index_n_heads"], c["index_head_dim"]; ck = self.compress(x, p + "indexer.compressor.", m, DI, True, f)
                iq = self.tail((qr @ T[p + "indexer.wq_b.weight"].T).reshape(S, H, DI), pos, f); w = x @ T[p + "indexer.weights_proj.weight"].T * H ** -0.5
                s = np.einsum("sh,sht->st", w, np.maximum(np.einsum("shd,td->sht", iq, ck), 0) * DI ** -0.5); s = np.where(ready, s, -np.inf)
                sel = np.zeros((S, n), bool); np.put_along_axis(sel, topk(s, min(c["index_topk"], n)), True, 1); ready &= sel
            K, ok = np.concatenate([kv, comp]), np.concatenate([ok, ready], 1)
        s = np.where(ok, np.einsum("shd,td->hst", q, K) * D ** -0.5, -np.inf); sink = np.broadcast_to(T[p + "attn_sink"][:, None, None], (nh, S, 1))
        o = np.einsum("hst,td->shd", softmax(np.concatenate([s, sink], -1))[..., :-1], K); o = self.tail(o, pos, f, -1)
        G = c["o_groups"]; A = T[p + "wo_a.weight"].reshape(G, c["o_lora_rank"], -1); o = np.einsum("sgd,grd->sgr", o.reshape(S, G, -1), A).reshape(S, -1); return o @ T[p + "wo_b.weight"].T
    def ffn4(self, x, p, ids):
        c, T, lim = self.c, self.T, self.c["swiglu_limit"]; s = np.sqrt(np.logaddexp(0, x @ T[p + "gate.weight"].T)); k = c["num_experts_per_tok"]
        idx = T[p + "gate.tid2eid"][ids] if p + "gate.tid2eid" in T else topk(s + T[p + "gate.bias"], k); w = np.take_along_axis(s, idx, 1); w = w / (w.sum(-1, keepdims=True) + 1e-20) * c["routed_scaling_factor"]
        def ex(v, q): return (silu(np.minimum(v @ T[q + "w1.weight"].T, lim)) * np.clip(v @ T[q + "w3.weight"].T, -lim, lim)) @ T[q + "w2.weight"].T
        y = ex(x, p + "shared_experts.")
        for t in range(len(x)):
            for e, g in zip(idx[t], w[t]): y[t] += g * ex(x[t], f"{p}experts.{e}.")
        return y
    def forward4(self, ids):
        T, c = self.T, self.c; pos = np.arange(len(ids)); X = np.repeat(T["embed.weight"][ids][:, None], c["hc_mult"], 1); hs = [X]
        for i in range(self.L):
            p = f"layers.{i}."
            for part in ("attn", "ffn"):
                x, post, C = self.hc(X, f"{p}hc_{part}_"); h = rms(x, T[f"{p}{part}_norm.weight"], self.eps)
                y = self.att4(h, p + "attn.", i, pos) if part == "attn" else self.ffn4(h, p + "ffn.", ids)
                X = post[..., None] * y[:, None] + np.einsum("sjk,sjd->skd", C, X)
            hs.append(X)
        z = rms(X.reshape(len(ids), -1), 1, self.eps) @ T["hc_head_fn"].T; pre = sig(z * T["hc_head_scale"] + T["hc_head_base"]) + c["hc_eps"]
        hs[-1] = rms(np.einsum("sn,snd->sd", pre, X), T["norm.weight"], self.eps); return hs[-1] @ T["head.weight"].T, hs

def check(d):
    m = Model(d); e = json.load(open(d + "/expected.json")); worst = hn = 0.0; ok = True
    for j, p in enumerate(e["prompts"]):
        ids = np.array(p["input_ids"]); lg, hs = m.forward(ids); worst = max(worst, np.abs(lg[-4:] - np.array(p["logits_last4"])).max())
        ok &= (lg.argmax(-1) == np.array(p["argmax_all"])).all(); hn = max(hn, max(abs(np.linalg.norm(a) / b - 1) for a, b in zip(hs, p["hidden_norms"])))
        if "mtp" in e:
            l2 = m.mtp(ids); q = e["mtp"]["prompts"][j]; worst = max(worst, np.abs(l2[-4:] - np.array(q["logits_last4"])).max()); ok &= (l2.argmax(-1) == np.array(q["argmax_all"])).all()
        cur = list(p["input_ids"])
        for t in p["greedy_16"][:4]: ok &= int(m.forward(np.array(cur))[0][-1].argmax()) == t; cur.append(t)
    if "train" in e:
        tot = n = 0.0
        for ids, lab in zip(e["train"]["input_ids"], e["train"]["labels"]):
            lg = m.forward(np.array(ids))[0]; lp = lg - lg.max(-1, keepdims=True); lp = lp - np.log(np.exp(lp).sum(-1, keepdims=True))
            for t in range(1, len(ids)):
                if lab[t] != -100: tot -= lp[t - 1, lab[t]]; n += 1
        worst = max(worst, abs(tot / n - e["train"]["loss"]))
    print(f"{d:45s} max|diff| {worst:.2e}  norms {hn:.1e}  argmax/greedy {'same' if ok else 'DIFFER'}", flush=True); return ok and worst < 1e-3
if __name__ == "__main__": sys.exit(0 if all([check(d) for d in sys.argv[1:]]) else 1)
