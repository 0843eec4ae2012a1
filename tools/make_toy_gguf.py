#!/usr/bin/env python3
"""Write tests/e2e/toy.gguf: a llama of 36,000 weights with a byte vocabulary, a chat template and thinking (needs numpy and gguf).

  make_toy_gguf.py OUT.gguf

Weights are random but for one direction that all embeddings share and that the output matrix reads for one token: greedy text is
"an" without end, text drawn at a high temperature has every token in it.  The template opens a thinking block unless
enable_thinking is false.
"""
import sys
import numpy as np
from gguf import GGUFWriter, TokenType

D, FF, LAYERS, HEADS, KV, CONTEXT = 32, 64, 2, 2, 1, 1024
CONTROL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
THINK = ["<think>", "</think>"]
MERGES = ["t h", "th e", "i n", "\u0120 the", "e r", "o n", "a n", "\u0120 a", "r e", "l l"]
TEMPLATE = (
    "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}"
    "{%- else %}{{ '<think>\\n' }}{%- endif %}{%- endif %}")


def byte_letters():
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    rest = [b for b in range(256) if b not in keep]
    table = {b: chr(b) for b in keep}
    table.update({b: chr(256 + i) for i, b in enumerate(rest)})
    return [table[b] for b in range(256)]


def main(path):
    letters = byte_letters()
    tokens = letters + [m.replace(" ", "") for m in MERGES] + CONTROL + THINK
    types = [TokenType.NORMAL] * (256 + len(MERGES)) + [TokenType.CONTROL] * len(CONTROL) + [TokenType.USER_DEFINED] * len(THINK)
    dice = np.random.default_rng(7)
    random = lambda *shape: (dice.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    w = GGUFWriter(path, "llama")
    w.add_name("toy")
    w.add_context_length(CONTEXT)
    w.add_embedding_length(D)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(FF)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(10000.0)
    w.add_rope_dimension_count(D // HEADS)
    w.add_vocab_size(len(tokens))
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges(MERGES)
    w.add_eos_token_id(tokens.index("<|im_end|>"))
    w.add_pad_token_id(tokens.index("<|endoftext|>"))
    w.add_add_bos_token(False)
    w.add_chat_template(TEMPLATE)

    embedding, output = random(len(tokens), D), random(len(tokens), D)
    embedding[:, 0], output[:, 0] = 4, 0
    output[tokens.index("an"), 0] = 4
    w.add_tensor("token_embd.weight", embedding)
    w.add_tensor("output.weight", output)
    w.add_tensor("output_norm.weight", np.ones(D, np.float32))
    for i in range(LAYERS):
        name = f"blk.{i}."
        w.add_tensor(name + "attn_norm.weight", np.ones(D, np.float32))
        w.add_tensor(name + "attn_q.weight", random(D, D))
        w.add_tensor(name + "attn_k.weight", random(D // HEADS * KV, D))
        w.add_tensor(name + "attn_v.weight", random(D // HEADS * KV, D))
        w.add_tensor(name + "attn_output.weight", random(D, D))
        w.add_tensor(name + "ffn_norm.weight", np.ones(D, np.float32))
        w.add_tensor(name + "ffn_gate.weight", random(FF, D))
        w.add_tensor(name + "ffn_up.weight", random(FF, D))
        w.add_tensor(name + "ffn_down.weight", random(D, FF))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    main(sys.argv[1])
