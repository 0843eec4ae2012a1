"""The toy model with another chat template and other names for some of its tokens, for families of models that have their own."""
import struct

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
USER = 4   # token type of added tokens that are ordinary text


def _text(data):
    data = data.encode() if isinstance(data, str) else data
    return struct.pack("<Q", len(data)) + data


def _value(kind, value):
    if kind == 8: return _text(value)
    if kind != 9: return value
    element, items = value
    return struct.pack("<IQ", element, len(items)) + b"".join(_value(element, i) for i in items)


class _Reader:
    def __init__(self, data): self.data, self.at = data, 0

    def take(self, n):
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, form): return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self, kind):
        if kind == 8: return self.take(self.number("<Q"))
        if kind != 9: return self.take(SIZES[kind])
        element = self.number("<I")
        return element, [self.value(element) for _ in range(self.number("<Q"))]


def write(source, path, template=None, names=(), kind=USER, context=4096):
    """names: added tokens that take the places of the toy's merged ones."""
    r = _Reader(open(source, "rb").read())
    head = r.take(8)
    n_tensors, n_keys = r.number("<Q"), r.number("<Q")
    keys = []
    for _ in range(n_keys):
        name, k = r.take(r.number("<Q")), r.number("<I")
        keys.append([name, k, r.value(k)])
    tensors = b""
    for _ in range(n_tensors):
        begin = r.at
        r.take(r.number("<Q"))
        r.take(8 * r.number("<I") + 12)
        tensors += r.data[begin:r.at]
    data = r.data[(r.at + 31) // 32 * 32:]
    table = {key[0]: key for key in keys}
    tokens, types = table[b"tokenizer.ggml.tokens"][2][1], table[b"tokenizer.ggml.token_type"][2][1]
    places = [i for i, t in enumerate(tokens) if 256 <= i and types[i] == struct.pack("<i", 1) and t not in (b"an", b"in", b"er")]
    gone = set()
    for place, name in zip(places, names, strict=False):
        gone.add(tokens[place])
        tokens[place], types[place] = name.encode(), struct.pack("<i", kind)
    assert len(places) >= len(names)
    merges = table[b"tokenizer.ggml.merges"][2]
    kept = [m for m in merges[1] if m.replace(b" ", b"") not in gone and not set(m.split(b" ")) & gone]
    table[b"tokenizer.ggml.merges"][2] = (merges[0], kept)
    if template is not None: table[b"tokenizer.chat_template"][2] = template.encode()
    table[b"llama.context_length"][2] = struct.pack("<I", context)
    out = head + struct.pack("<QQ", n_tensors, n_keys) + b"".join(_text(n) + struct.pack("<I", k) + _value(k, v) for n, k, v in keys) + tensors
    with open(path, "wb") as f: f.write(out + bytes(-len(out) % 32) + data)
    return path
