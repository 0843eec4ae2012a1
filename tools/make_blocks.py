#!/usr/bin/env python3
"""GGUF quantized-block goldens: random bytes per type, dequantized by gguf-py (and compared with ggml's C when --ggml LIB is given).

  make_blocks.py tests/golden/gguf_blocks.json SEED [--ggml libggml-base.so]
"""
import ctypes, json, sys
import numpy as np
from gguf import GGMLQuantizationType as Q, dequantize, quantize, GGML_QUANT_SIZES
TYPES = "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4".split()
HALF = dict(Q4_0=[0], Q4_1=[0, 2], Q5_0=[0], Q5_1=[0, 2], Q8_0=[0], Q2_K=[80, 82], Q3_K=[108], Q4_K=[0, 2], Q5_K=[0, 2], Q6_K=[208], IQ4_NL=[0], IQ4_XS=[0])
out, seed = sys.argv[1], int(sys.argv[2]); lib = ctypes.CDLL(sys.argv[4]) if len(sys.argv) > 4 else None
g = np.random.default_rng(seed); res = []
for n in TYPES:
    t = Q[n]; bs, ts = GGML_QUANT_SIZES[t]; nb = 3 if bs > 1 else 32; raw = g.integers(0, 256, (nb, ts), dtype=np.uint8)
    for off in HALF.get(n, []): raw[:, off:off+2] = g.normal(0, .02, nb).astype(np.float16).view(np.uint8).reshape(nb, 2)
    if n == "MXFP4": raw[:, 0] = [0, 1, 121][:nb]          # two subnormal scales and an ordinary one
    if n == "F16": raw = np.concatenate([g.normal(0, 1, 24).astype(np.float16), np.array([0, -0., 6e-8, 1e-5, 65504, np.inf, -np.inf, 1], np.float16)]).view(np.uint8).reshape(nb, 2)
    if n == "BF16": raw[:, 1] &= 0xbf
    y = np.array(dequantize(raw.reshape(-1) if bs == 1 else raw, t), dtype=np.float32).reshape(-1)
    c = None
    if lib and hasattr(lib, f"dequantize_row_{n.lower().replace('_k', '_K')}"):
        f = getattr(lib, f"dequantize_row_{n.lower().replace('_k', '_K')}"); z = np.zeros(nb * bs, np.float32); f.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        f(raw.ctypes.data, z.ctypes.data, nb * bs); c = bool(np.array_equal(z, y)) or float(np.abs(z - y).max()); y = z
    print(n, bs, ts, "ggml C equal:", c); it = dict(type=n, id=int(t), block=bs, bytes=ts, hex=raw.tobytes().hex(), values=[float("%.9g" % v) if np.isfinite(v) else str(v) for v in y])
    res.append(it)
# reference quantization (round trip) where gguf-py has it: input floats and the bytes that come out
qz = []
x = g.normal(0, 1, 64).astype(np.float32); x[5] = 0
for n in "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 BF16 F16".split(): qz.append(dict(type=n, input=[float("%.9g" % v) for v in x], hex=np.array(quantize(x, Q[n])).tobytes().hex()))
json.dump(dict(dequantize=res, quantize=qz), open(out, "w"), separators=(",", ":"))
