#!/usr/bin/env python3
"""Measures llama.cpp through the C functions of llama-cpp-python; run by run_bench.py with the peers' interpreter.

  peer_llama_cpp.py speed MODEL JSON       {"threads", "prefill", "decode", "streams", "depth"} -> tok/s of each, as JSON
  peer_llama_cpp.py start MODEL THREADS    seconds from opening the model to the first token (Python's own start not counted)
  peer_llama_cpp.py lookup MODEL JSON      {"threads", "n_new", "texts"} -> tok/s of greedy answers, plain and with prompt lookup
  peer_llama_cpp.py tokenize MODEL FILE    MB/s of one thread, in that thread's own time
  peer_llama_cpp.py quantize MODEL JSON    {"threads", "type": "Q4_K_M", "out"} -> seconds of llama_model_quantize, and of processor time

Settings are llama.cpp's fastest here: flash attention, F16 cache, 512 tokens per micro-batch, no logits but the last.
"""
import ctypes, json, sys, time
import llama_cpp as L

QUIET = L.llama_log_callback(lambda level, text, data: None)


def load(path):
    L.llama_log_set(QUIET, None)
    L.llama_backend_init()
    model = L.llama_model_load_from_file(path.encode(), L.llama_model_default_params())
    if not model: sys.exit(f"llama.cpp cannot load {path}")
    return model


def context(model, threads, n_ctx, n_seq, flash=L.LLAMA_FLASH_ATTN_TYPE_ENABLED):
    p = L.llama_context_default_params()
    p.n_ctx, p.n_batch, p.n_ubatch, p.n_seq_max = n_ctx, 2048, 512, n_seq
    p.n_threads = p.n_threads_batch = threads
    p.flash_attn_type = flash
    ctx = L.llama_init_from_model(model, p)
    if not ctx: sys.exit("llama.cpp cannot make a context")
    return ctx


class Batch:
    def __init__(self, n): self.b = L.llama_batch_init(n, 0, 1)

    def fill(self, rows):
        """rows of (token, position, sequence, wants logits)"""
        b = self.b
        b.n_tokens = len(rows)
        for i, (token, pos, seq, logits) in enumerate(rows):
            b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0], b.logits[i] = token, pos, 1, seq, logits
        return b


def decode(ctx, batch):
    code = L.llama_decode(ctx, batch)
    if code != 0: sys.exit(f"llama_decode returned {code}")
    L.llama_synchronize(ctx)


def fed(ctx, batch, n_tokens, vocab, seq=0, start=0):
    """Seconds for n_tokens of prompt."""
    begin = time.perf_counter()
    for at in range(0, n_tokens, 2048):
        n = min(2048, n_tokens - at)
        decode(ctx, batch.fill([((start + at + i) * 7919 % (vocab - 100) + 50, start + at + i, seq, at + i == n_tokens - 1) for i in range(n)]))
    return time.perf_counter() - begin


def speed(path, want):
    model = load(path)
    vocab, threads = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model)), want["threads"]
    depth, out = want.get("depth", 0), {}
    batch = Batch(2048)
    if want.get("prefill") or want.get("decode"):
        ctx = context(model, threads, depth + max(want.get("prefill", 0), want.get("decode", 0), 64) + 64, 1)
        memory = L.llama_get_memory(ctx)
        fed(ctx, batch, 32, vocab)                        # warm: pages read, buffers there
        decode(ctx, batch.fill([(100, 32, 0, True)]))
        L.llama_memory_clear(memory, True)
        if want.get("prefill"):
            out["prefill_tok_s"] = want["prefill"] / fed(ctx, batch, want["prefill"], vocab)
            if depth != want["prefill"]: L.llama_memory_clear(memory, True)
        if want.get("decode"):
            if depth and depth != want.get("prefill"): fed(ctx, batch, depth, vocab)
            n, begin = want["decode"], time.perf_counter()
            for i in range(n): decode(ctx, batch.fill([(100 + i, depth + i, 0, True)]))
            out["decode_tok_s"] = n / (time.perf_counter() - begin)
        L.llama_free(ctx)
    if want.get("streams", 1) > 1:
        n_seq, n = want["streams"], want.get("stream_decode", 32)
        ctx = context(model, threads, n_seq * 256, n_seq)
        for seq in range(n_seq): fed(ctx, batch, 16, vocab, seq)
        decode(ctx, batch.fill([(100, 16, seq, True) for seq in range(n_seq)]))
        begin = time.perf_counter()
        for i in range(n): decode(ctx, batch.fill([(100 + i + seq, 17 + i, seq, True) for seq in range(n_seq)]))
        out["batch_decode_tok_s"] = n * n_seq / (time.perf_counter() - begin)
    return out


def start(path, threads):
    begin = time.perf_counter()
    model = load(path)
    ctx = context(model, threads, 512, 1)
    vocab = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    decode(ctx, Batch(64).fill([(i + 50, i, 0, i == 20) for i in range(21)]))
    logits = L.llama_get_logits_ith(ctx, -1)
    max(range(vocab), key=lambda i: logits[i]) if vocab < 1000 else logits[0]
    return {"start_s": time.perf_counter() - begin}


def tokenize(path, file):
    params = L.llama_model_default_params()
    params.vocab_only = True
    L.llama_log_set(QUIET, None)
    L.llama_backend_init()
    model = L.llama_model_load_from_file(path.encode(), params)
    vocab, text = L.llama_model_get_vocab(model), open(file, "rb").read()
    tokens = (ctypes.c_int32 * len(text))()
    begin = time.thread_time()
    n = L.llama_tokenize(vocab, text, len(text), tokens, len(text), False, True)
    return {"mb_s": len(text) / (time.thread_time() - begin) / 1e6, "tokens": n}


def quantize(path, want):
    """llama.cpp's own quantizer; Python's start is not counted."""
    L.llama_log_set(QUIET, None)
    L.llama_backend_init()
    p = L.llama_model_quantize_default_params()
    p.nthread, p.ftype, p.allow_requantize = want["threads"], getattr(L, "LLAMA_FTYPE_MOSTLY_" + want["type"]), True
    begin, cpu = time.perf_counter(), time.process_time()
    code = L.llama_model_quantize(path.encode(), want["out"].encode(), ctypes.byref(p))
    if code != 0: sys.exit(f"llama_model_quantize returned {code}")
    return {"seconds": time.perf_counter() - begin, "cpu_s": time.process_time() - cpu}


def lookup(path, want):
    """Greedy answers through the Python class, without and with its prompt lookup (2 tokens a step, what it advises for processors)."""
    from llama_cpp.llama_speculative import LlamaPromptLookupDecoding
    out = {}
    for name, draft in (("plain", None), ("lookup", LlamaPromptLookupDecoding(num_pred_tokens=2))):
        model = L.Llama(path, n_ctx=2048, n_threads=want["threads"], n_threads_batch=want["threads"], flash_attn=True, draft_model=draft, verbose=False)
        n_tokens = seconds = 0
        for text in want["texts"]:
            first, n = None, 0
            for piece in model.create_chat_completion([{"role": "user", "content": open(text).read()}], temperature=0, max_tokens=want["n_new"], stream=True):
                if not piece["choices"][0]["delta"].get("content"): continue
                if first is None: first = time.perf_counter()
                else: n += 1
            n_tokens, seconds = n_tokens + n, seconds + time.perf_counter() - (first or 0)
        out[f"{name}_tok_s"] = n_tokens / seconds
    return out


if __name__ == "__main__":
    what, path, rest = sys.argv[1], sys.argv[2], sys.argv[3]
    measures = dict(speed=lambda: speed(path, json.loads(rest)), start=lambda: start(path, int(rest)), tokenize=lambda: tokenize(path, rest),
                    quantize=lambda: quantize(path, json.loads(rest)), lookup=lambda: lookup(path, json.loads(rest)))
    result = measures[what]()
    print(json.dumps(result))
