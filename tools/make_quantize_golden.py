#!/usr/bin/env python3
"""What ggml's own quantizers make of a few rows, for tests/kernel/test_quantize.c.

  make_quantize_golden.py tests/golden/quantize_rows.json SEED --ggml libggml-base.so      (needs numpy)

Rows and importance are kept as BF16 bits, so that both sides begin with the same numbers.  768 columns: three blocks of 256, of which a
unit of the kernels takes two.
"""
import ctypes, json, sys
import numpy as np

TYPES = dict(Q4_0=(2, 32, 18), Q4_1=(3, 32, 20), Q5_0=(6, 32, 22), Q5_1=(7, 32, 24), Q8_0=(8, 32, 34), Q4_K=(12, 256, 144), Q5_K=(13, 256, 176),
             Q6_K=(14, 256, 210), IQ4_NL=(20, 32, 18), IQ4_XS=(23, 256, 136), MXFP4=(39, 32, 17))
N = 768
out, seed, ggml = sys.argv[1], int(sys.argv[2]), ctypes.CDLL(sys.argv[4])
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
g = np.random.default_rng(seed)


def bf16(x): return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def floats(bits): return (bits.astype(np.uint32) << 16).view(np.float32)


rows = [bf16(x) for x in (g.normal(0, .02, N), g.standard_t(4, N) * .02, g.normal(0, .02, N) + g.normal(0, .02, N // 32).repeat(32))]
importance = bf16(g.chisquare(1, N) + .01)
cases = []
for name, (type_id, block, n_bytes) in TYPES.items():
    for is_weighted in (False, True):
        blocks = []
        for bits in rows:
            x, w, raw = floats(bits), floats(importance), np.zeros(N // block * n_bytes, np.uint8)
            ggml.ggml_quantize_chunk(type_id, x.ctypes.data, raw.ctypes.data, 0, 1, N, w.ctypes.data if is_weighted else None)
            blocks.append(raw.tobytes().hex())
        cases.append(dict(type=name, id=type_id, is_weighted=is_weighted, rows=blocks))
hexed = lambda bits: bits.astype("<u2").tobytes().hex()
json.dump(dict(n_columns=N, rows=[hexed(r) for r in rows], importance=hexed(importance), cases=cases), open(out, "w"), separators=(",", ":"))
