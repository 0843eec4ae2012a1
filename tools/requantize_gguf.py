#!/usr/bin/env python3
"""Rewrite a GGUF with its matrices in another type: the same weights for rows of a table that differ in type only.

  requantize_gguf.py q4_0|q8_0|bf16|f16|f32 IN.gguf OUT.gguf [--pure]        (needs numpy and gguf)

Metadata are copied.  Vectors stay as they are.  q4_0 keeps the output matrix in Q8_0, as llama.cpp does for row lengths that Q6_K
does not divide; --pure converts it too.
"""
import argparse, time
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize, quantize

FILE_TYPE = dict(f32=0, f16=1, q4_0=2, q8_0=7, bf16=32)
ELEMENT = dict(f32=T.F32, f16=T.F16, q4_0=T.Q4_0, q8_0=T.Q8_0, bf16=T.BF16)


def target_of(tensor, kind, is_pure):
    if len(tensor.shape) < 2 or tensor.name.endswith("ffn_gate_inp.weight"):
        return tensor.tensor_type
    if kind == "q4_0" and tensor.name == "output.weight" and not is_pure:
        return T.Q8_0
    return ELEMENT[kind]


def convert(tensor, target):
    """[rows, bytes] for block types and BF16, else an array of numbers."""
    if target == tensor.tensor_type:
        return np.ascontiguousarray(tensor.data)
    x = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    return x if target == T.F32 else quantize(x, target)


def copy_metadata(w, reader, kind):
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        first = field.types[0]
        w.add_key_value(key, field.contents(), first, field.types[-1] if first == GGUFValueType.ARRAY else None)
    w.add_file_type(FILE_TYPE[kind])


def main():
    parser = argparse.ArgumentParser(description="the same weights in another type")
    parser.add_argument("kind", choices=ELEMENT)
    parser.add_argument("source")
    parser.add_argument("out")
    parser.add_argument("--pure", action="store_true", help="the output matrix too")
    a = parser.parse_args()
    begin, reader = time.time(), GGUFReader(a.source)
    w = GGUFWriter(a.out, reader.fields["general.architecture"].contents())
    copy_metadata(w, reader, a.kind)
    targets = [target_of(t, a.kind, a.pure) for t in reader.tensors]
    for t, target in zip(reader.tensors, targets):
        shape, (block, block_bytes) = [int(n) for n in reversed(t.shape)], GGML_QUANT_SIZES[target]
        byte_shape = (*shape[:-1], shape[-1] // block * block_bytes)
        w.add_tensor_info(t.name, byte_shape, np.dtype(np.uint8), int(np.prod(byte_shape)), raw_dtype=target)
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_ti_data_to_file()
    for t, target in zip(reader.tensors, targets):
        w.write_tensor_data(convert(t, target).view(np.uint8))
    w.close()
    print(f"{a.out}: {time.time() - begin:.0f} s")


if __name__ == "__main__":
    main()
