"""What the limits of run_bench.py need to know about a GGUF file: bytes and products per token."""
import os, struct

# type: (values per block, bytes per block)
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110),
          12: (256, 144), 13: (256, 176), 14: (256, 210), 20: (32, 18), 23: (256, 136), 30: (1, 2), 39: (32, 17)}
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class Reader:
    def __init__(self, file): self.file = file

    def take(self, fmt): return struct.unpack("<" + fmt, self.file.read(struct.calcsize("<" + fmt)))[0]

    def text(self): return self.file.read(self.take("Q"))

    def value(self, kind):
        if kind == 8: return self.text()
        if kind != 9: return self.take(FORMATS[kind])
        of, n = self.take("I"), self.take("Q")
        if of == 8: return [self.text() for _ in range(n)]
        return self.file.read(SIZES[of] * n) and n


def read_facts(path):
    """dict: file_bytes, block_values (products per prompt token), token_bytes, token_values (with the output
    matrix), dense_bytes and expert_bytes (of all blocks), expert_share (of them used by one token), layers,
    cache_bytes (per token of context, F16), is_float (weights BF16 or F32), tokens (the vocabulary)."""
    with open(path, "rb") as file:
        r = Reader(file)
        if file.read(4) != b"GGUF": raise ValueError(f"{path}: not a GGUF file")
        r.take("I")
        n_tensors, n_fields = r.take("Q"), r.take("Q")
        fields = {}
        for _ in range(n_fields):
            name = r.text().decode()
            fields[name] = r.value(r.take("I"))
        tensors = {}
        for _ in range(n_tensors):
            name = r.text().decode()
            shape = [r.take("Q") for _ in range(r.take("I"))]
            kind, _ = r.take("I"), r.take("Q")
            n = 1
            for d in shape: n *= d
            tensors[name] = (n, n // BLOCKS[kind][0] * BLOCKS[kind][1], len(shape), kind)
    arch = fields["general.architecture"].decode()
    get = lambda key, default=None: fields.get(f"{arch}.{key}", default)
    heads = get("attention.head_count")
    d_head = get("attention.key_length") or get("embedding_length") // heads
    # A latent row (key_length with the rotated part) holds the values too.
    cache_values = d_head if get("attention.key_length_mla") else get("attention.head_count_kv", heads) * d_head * 2
    output = "output.weight" if "output.weight" in tensors else "token_embd.weight"
    blocks = [t for name, t in tensors.items() if name.startswith("blk.") and t[2] >= 2]
    # Of a mixture of experts only the active share is read.
    share = get("expert_used_count", 1) / get("expert_count", 1) if get("expert_count") else 1
    part = lambda name: share if "_exps." in name else 1
    every = [(name, t) for name, t in tensors.items() if name.startswith("blk.") or name == output or name == "output_norm.weight"]
    block_bytes = lambda is_expert: sum(t[1] for name, t in tensors.items() if name.startswith("blk.") and ("_exps." in name) == is_expert)
    return dict(file_bytes=os.path.getsize(path), is_latent=get("attention.kv_lora_rank", 0) > 0, tokens=fields.get("tokenizer.ggml.tokens", []), layers=get("block_count"),
                dense_bytes=block_bytes(False), expert_bytes=block_bytes(True), expert_share=share,
                block_values=sum(t[0] * part(name) for name, t in tensors.items() if name.startswith("blk.") and t[2] >= 2),
                token_values=sum(t[0] * part(name) for name, t in every if t[2] >= 2),
                token_bytes=sum(t[1] * part(name) for name, t in every),
                is_float=bool(blocks) and max(blocks)[3] in (0, 1, 30),
                cache_bytes=get("block_count") * cache_values * 2)


if __name__ == "__main__":
    import sys
    for path in sys.argv[1:]: print(path, {k: v for k, v in read_facts(path).items() if k != "tokens"})
