#!/usr/bin/env python3
"""Writes tests/golden/tokenizer_spm.json: a small SentencePiece vocabulary, and what others make of it.

  make_spm_golden.py > tests/golden/tokenizer_spm.json     (needs pip's sentencepiece and tokenizers)

`cases[].ids` are sentencepiece's own (scores decide), `json_ids` those of the `tokenizers` package for the
tokenizer.json in `file` (Llama-2 style: merges, byte fallback, Prepend and Replace).  `decoded` is
sentencepiece's text where it is not the input.
"""
import io, json, pydoc_data.topics, random
import sentencepiece as spm
from tokenizers import Tokenizer, AddedToken, decoders, models, normalizers

MARK = "\u2581"
TEXTS = ["", " ", "  ", "a", " a", "a ", "Hello world", "Hello  world", "  leading", "trailing  ", "the statement", "\n", "a\nb\n\nc", "\t tab",
         "naïve café", "Größe", "你好，世界", "Привет", "😀 emoji 👨‍👩‍👧", "e\u0301 combining", "a" * 100, "ab" * 60, " " * 33 + "x" + " " * 17, "def f(x):\n    return x + 1\n",
         "<0x41>", "<s>", "</s>", "<unk>", MARK, "a" + MARK + "b", MARK * 3, "x\u0000y", "1234567890 3.14", "don't can't", "\u00a0nbsp\u3000wide", "\ufeffBOM", "\U0010ffff", "class object method attribute"]

def train():
    words = " ".join(pydoc_data.topics.topics[k] for k in sorted(pydoc_data.topics.topics))[:60000]
    lines = [l for l in words.split("\n") if l.strip()]
    out = io.BytesIO()
    spm.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=out, model_type="bpe", vocab_size=900, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=0.999, split_digits=True, allow_whitespace_only_pieces=True, minloglevel=2)
    return spm.SentencePieceProcessor(model_proto=out.getvalue())

def kind(sp, i):
    return 2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 5 if sp.is_unused(i) else 1

def hugging_face(tokens, scores, types):
    vocab = {t: i for i, t in enumerate(tokens)}
    normal = {t for t, k in zip(tokens, types) if k == 1}
    merges = []
    for i in sorted((i for i, k in enumerate(types) if k == 1), key=lambda i: (-scores[i], i)):
        t = tokens[i]
        merges += [(t[:k], t[k:]) for k in range(1, len(t)) if t[:k] in normal and t[k:] in normal]
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    tok.decoder = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    return tok

def main():
    sp = train()
    n = sp.get_piece_size()
    tokens, scores, types = [sp.id_to_piece(i) for i in range(n)], [sp.get_score(i) for i in range(n)], [kind(sp, i) for i in range(n)]
    tok = hugging_face(tokens, scores, types)
    dice = random.Random(7)
    pool = [t for t in TEXTS if t] + tokens[300:600:7]
    texts = TEXTS + [dice.choice(["", " ", "\n"]).join(dice.choice(pool)[:40] for _ in range(dice.randint(2, 5))) for _ in range(60)]
    cases = []
    for text in texts:
        plain = not any(s in text for s in ("<unk>", "<s>", "</s>"))   # tokenizers cuts these out, sentencepiece never does
        case = dict(text=text, ids=sp.encode(text))
        if plain: case["json_ids"] = tok.encode(text, add_special_tokens=False).ids
        decoded = sp.decode(case["ids"])
        if decoded != text: case["decoded"] = decoded
        cases.append(case)
    print(json.dumps(dict(tokens=tokens, scores=scores, types=types, unk_id=sp.unk_id(), bos_id=sp.bos_id(), eos_id=sp.eos_id(),
                          cases=cases, file=json.loads(tok.to_str())), ensure_ascii=False, indent=0))

main()
