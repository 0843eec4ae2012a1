"""r2lm tokenizer train from outside: held against byte pair encoding as textbooks write it, read back, what is refused.

Hugging Face's trainer judges large texts in tests/e2e/clients/test_with_tokenizers.py.
"""
import collections, filecmp, json, os, random, resource
import pytest
from cli_client import MEMORY, USAGE, here, home, r2lm, refused   # noqa: F401  (fixtures)

PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
OTHERS = [b for b in range(256) if b not in PRINTABLE]
LETTER = {b: chr(b) for b in PRINTABLE} | {b: chr(256 + i) for i, b in enumerate(OTHERS)}    # GPT-2's
WORDS = "the then they thing things think thinking hill hills on in in a an and bananas ing ha haha hahaha caf\u00e9 \u4f60\u597d \U0001f600".split()


def write(name, text):
    open(name, "w", newline="").write(text)
    return name


def train(*arguments, to="out", **more):
    said = json.loads(r2lm("tokenizer", "train", "-o", to, "--force", "--json", *arguments, **more).out)
    return said, json.load(open(os.path.join(to, "tokenizer.json")))


def sentence(dice, n):
    return " ".join(dice.choice(WORDS) for _ in range(n))


def textbook(words, n_tokens, first, min_count=2):
    """Vocabulary and merges: counts anew in every step.  Words are runs of letters with the blank before them."""
    ids = {LETTER[b]: first + i for i, b in enumerate(sorted(LETTER, key=lambda b: LETTER[b]))}
    pieces = {w: [LETTER[b] for b in w.encode()] for w in words}
    merges = []
    while len(ids) < n_tokens:
        pairs = collections.Counter()
        for w, parts in pieces.items():
            for pair in zip(parts, parts[1:]): pairs[pair] += words[w]
        best = min(pairs, key=lambda p: (-pairs[p], ids[p[0]], ids[p[1]]), default=None)
        if best is None or pairs[best] < min_count: break
        merges.append(" ".join(best))
        ids.setdefault("".join(best), first + len(ids))
        for parts in pieces.values():
            i = 0
            while i + 1 < len(parts):
                if (parts[i], parts[i + 1]) == best: parts[i:i + 2] = ["".join(best)]
                i += 1
    return ids, merges


@pytest.mark.parametrize("seed", range(4))
def test_as_the_textbook_has_it(seed):
    text = sentence(random.Random(seed), 300)
    if seed == 3: text = "aaaaaaa aaaa aaa aa a ababab bababa"     # neighbours that overlap
    words = collections.Counter(w if i == 0 else " " + w for i, w in enumerate(text.split(" ")))
    said, file = train(write("in.txt", text), "--vocab-size", 340, "--special", "<|end|>", "--reserve", 1)
    ids, merges = textbook(words, 339, 1)
    expected = {"<|end|>": 0, **ids}
    assert file["model"]["merges"] == merges and file["model"]["vocab"] == expected
    assert said["vocab_size"] == len(expected) and said["merges"] == len(merges) > 4


def test_special_tokens_and_reading_back():
    said, file = train(write("in.txt", sentence(random.Random(1), 400) + "<think> 1234"), "--vocab-size", 400)
    added = [a["content"] for a in file["added_tokens"]]
    assert len(added) == 64 and added[0] == "<|end|>" and added[-1] == "<|reserved_42|>" and [a["id"] for a in file["added_tokens"]] == list(range(64))
    assert {a["content"] for a in file["added_tokens"] if not a["special"]} >= {"<think>", "</think>", "<answer>"} and file["added_tokens"][0]["special"]
    config = json.load(open("out/tokenizer_config.json"))
    assert config["eos_token"] == "<|end|>" and config["tokenizer_class"] == "PreTrainedTokenizerFast"
    vocab = file["model"]["vocab"]
    def tokens(text, *more): return [int(t) for t in r2lm("tokenize", "-m", "out", "-f", "-", *more, stdin=text).out.split()]
    assert tokens("1234") == [vocab[c] for c in "1234"]                              # digits alone
    assert tokens("<|user|>", "--special") == [added.index("<|user|>")] and len(tokens("<|user|>")) > 1
    assert tokens("a<think>") == [vocab["a"], added.index("<think>")]
    for text in ("the things on a hill", "caf\u00e9 \u4f60\u597d\n\n  x", "\tnever seen: \u00fc \U0001f9ff\r\n"):
        ids = tokens(text)
        bytes_of = {c: b for b, c in LETTER.items()}
        names = {i: t for t, i in vocab.items()}
        assert bytes(bytes_of[c] for i in ids for c in names[i]) == text.encode()
    assert said["tokens"] < said["bytes_read"] / 2
    assert not any("think>" in t for t in vocab if t not in added)                    # nothing is learned of what is a token already


def test_same_files_whatever_the_order():
    dice = random.Random(5)
    os.mkdir("in")
    texts = [sentence(dice, 50) + "\n" for _ in range(20)]
    for i, t in enumerate(texts): write(f"in/{i:02}.txt", t)
    write("lines.jsonl", "".join(json.dumps({"text": t}) + "\n" for t in reversed(texts)))
    asked = ("--vocab-size", 420)
    train("in", *asked, to="a")
    train("lines.jsonl", *asked, to="b")
    train("-", "--mark", "---", *asked, to="c", stdin="---\n".join(texts))
    for other in ("b", "c"): assert filecmp.cmp("a/tokenizer.json", f"{other}/tokenizer.json", shallow=False)


def test_chats_are_read():
    said, file = train(write("in.jsonl", json.dumps({"messages": [{"role": "user", "content": "haha " * 9}, {"role": "assistant", "reasoning_content": "bananas " * 9, "content": "x"}]}) + "\n"))
    assert "haha" in file["model"]["vocab"] and "\u0120bananas" in file["model"]["vocab"] and said["documents_read"] == 1
    r2lm("data", "prep", "-m", "out", "-o", "data", "in.jsonl", "--validation", 0)     # by its own chat template
    assert json.loads(r2lm("data", "show", "data", "--json").out)["train"]["documents"] == 1


def test_less_text_than_asked_for():
    done = r2lm("tokenizer", "train", "-o", "out", write("in.txt", "a few words, a few words"), "--vocab-size", 5000)
    assert "no more than" in done.err and len(json.load(open("out/tokenizer.json"))["model"]["vocab"]) < 400


def test_what_is_wrong_is_said():
    write("good.txt", "a text")
    refused("tokenizer", code=USAGE, says="expected train")
    refused("tokenizer", "learn", code=USAGE, says="expected train, found learn")
    refused("tokenizer", "train", "good.txt", code=USAGE, says="-o DIR")
    refused("tokenizer", "train", "-o", "out", code=USAGE, says="files or folders")
    refused("tokenizer", "train", "-o", "out", "nowhere.txt", says="nowhere.txt")
    refused("tokenizer", "train", "-o", "out", write("empty.txt", ""), code=USAGE, says="expected text to learn from")
    refused("tokenizer", "train", "-o", "out", write("bad.jsonl", '{"txt": 1}\n'), says="bad.jsonl:1")
    refused("tokenizer", "train", "-o", "good.txt", "good.txt", code=USAGE, says="good.txt")
    refused("tokenizer", "train", "-o", "out", "good.txt", "--vocab-size", 300, code=USAGE, says="expected 320 tokens")
    refused("tokenizer", "train", "-o", "out", "good.txt", "--vocab-size", 12, code=USAGE, says="vocab-size")
    for name in ("x", "a b", "<\u00fc>", 'a"b', "y" * 64): refused("tokenizer", "train", "-o", "out", "good.txt", "--special", name, code=USAGE, says="special token")
    refused("tokenizer", "train", "-o", "out", "good.txt", "--special", "<a>", "--special", "<a>", code=USAGE, says="found twice")
    open("zero.txt", "wb").write(b"a\0b")
    refused("tokenizer", "train", "-o", "out", "zero.txt", says="zero.txt: expected UTF-8")
    for n in (100, 5000): refused("tokenizer", "train", "-o", "out", "good.txt", code=MEMORY, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)))
