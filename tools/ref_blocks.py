#!/usr/bin/env python3
"""The GGUF block formats written out element by element in plain Python; `ref_blocks.py gguf_blocks.json` compares with the goldens."""
import json, struct, sys
T = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]; FP4 = [0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6]
h = lambda b, o: struct.unpack_from("<e", b, o)[0]
def km(s, i): return (s[i] & 63, s[i+4] & 63) if i < 4 else ((s[i+4] & 15) | (s[i-4] >> 6) << 4, (s[i+4] >> 4) | (s[i] >> 6) << 4)
def deq(n, b):
    y = {}
    if n == "F16": return [h(b, 0)]
    if n == "BF16": return [struct.unpack("<f", b"\0\0" + b)[0]]
    if n in ("Q4_0", "Q4_1", "IQ4_NL", "MXFP4"):
        o = dict(Q4_0=2, Q4_1=4, IQ4_NL=2, MXFP4=1)[n]
        for j in range(16):
            for e, q in ((j, b[o+j] & 15), (j + 16, b[o+j] >> 4)):
                y[e] = h(b, 0) * (q - 8) if n == "Q4_0" else h(b, 0) * q + h(b, 2) if n == "Q4_1" else h(b, 0) * T[q] if n == "IQ4_NL" else 2.0 ** (b[0] - 127) * FP4[q]
    elif n in ("Q5_0", "Q5_1"):
        o = 2 if n == "Q5_0" else 4; qh = struct.unpack_from("<I", b, o)[0]
        for j in range(16):
            for e, q in ((j, b[o+4+j] & 15), (j + 16, b[o+4+j] >> 4)):
                q |= (qh >> e & 1) << 4; y[e] = h(b, 0) * (q - 16) if n == "Q5_0" else h(b, 0) * q + h(b, 2)
    elif n == "Q8_0":
        for j in range(32): y[j] = h(b, 0) * struct.unpack_from("b", b, 2 + j)[0]
    elif n in ("Q2_K", "Q3_K"):
        for half in range(2):
            for j in range(4):
                for l in range(32):
                    e = 128 * half + 32 * j + l; si = 8 * half + 2 * j + (l >= 16)
                    if n == "Q2_K": q = b[16 + 32 * half + l] >> 2 * j & 3; y[e] = h(b, 80) * (b[si] & 15) * q - h(b, 82) * (b[si] >> 4)
                    else:
                        q = b[32 + 32 * half + l] >> 2 * j & 3; s = b[96:108]; sc = (s[si] & 15 if si < 8 else s[si-8] >> 4) | (s[8 + si % 4] >> 2 * (si // 4) & 3) << 4
                        y[e] = h(b, 108) * (sc - 32) * (q - (0 if b[l] >> (4 * half + j) & 1 else 4))
    elif n in ("Q4_K", "Q5_K"):
        o = 16 if n == "Q4_K" else 48
        for i in range(8):
            sc, mn = km(b[4:16], i)
            for l in range(32):
                q = b[o + 32 * (i // 2) + l]; q = q >> 4 if i & 1 else q & 15
                if n == "Q5_K": q += 16 * (b[16 + l] >> i & 1)
                y[32 * i + l] = h(b, 0) * sc * q - h(b, 2) * mn
    elif n == "Q6_K":
        for half in range(2):
            ql, qh = b[64 * half:64 * half + 64], b[128 + 32 * half:160 + 32 * half]
            for l in range(32):
                for k, q in enumerate((ql[l] & 15 | (qh[l] & 3) << 4, ql[l+32] & 15 | (qh[l] >> 2 & 3) << 4, ql[l] >> 4 | (qh[l] >> 4 & 3) << 4, ql[l+32] >> 4 | (qh[l] >> 6) << 4)):
                    y[128 * half + 32 * k + l] = h(b, 208) * struct.unpack_from("b", b, 192 + 8 * half + l // 16 + 2 * k)[0] * (q - 32)
    elif n == "IQ4_XS":
        sh = struct.unpack_from("<H", b, 2)[0]
        for i in range(8):
            s = (b[4 + i // 2] >> 4 * (i % 2) & 15) | (sh >> 2 * i & 3) << 4
            for j in range(16): q = b[8 + 16 * i + j]; y[32*i+j] = h(b, 0) * (s - 32) * T[q & 15]; y[32*i+j+16] = h(b, 0) * (s - 32) * T[q >> 4]
    return [y[i] for i in range(len(y))]
bad = 0
for t in json.load(open(sys.argv[1]))["dequantize"]:
    raw = bytes.fromhex(t["hex"]); v = [x for o in range(0, len(raw), t["bytes"]) for x in deq(t["type"], raw[o:o + t["bytes"]])]
    w = [float(x) for x in t["values"]]; d = max(abs(a - b) / (abs(b) + 1e-6) if a != b else 0.0 for a, b in zip(v, w)); ok = len(v) == len(w) and d < 2e-5; bad += not ok
    print(t["type"], "ok" if ok else "BAD", "%.1e" % d)
sys.exit(bad)
