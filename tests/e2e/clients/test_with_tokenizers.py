"""Hugging Face's package `tokenizers` beside `r2lm tokenizer train`: the same vocabulary from the same texts, and what it reads of ours.

It comes with aider-chat.
"""
import json, os, random, subprocess, sysconfig
import pytest
from served_model import CLIENTS, PROGRAM, SOURCE

PYTHON = os.path.join(CLIENTS, "aider", "bin", "python")
ENCODE = """import json, sys
from tokenizers import Tokenizer
tok = Tokenizer.from_file(sys.argv[1])
texts = json.load(sys.stdin)
ids = [tok.encode(t).ids for t in texts]
print(json.dumps([ids, [tok.decode(i, skip_special_tokens=False) for i in ids]]))
"""
STRANGE = ["", " ", "  leading", "tabs\t\tand\r\nlines\n\n\n", "0123456789 \u0663\u00bd", "caf\u00e9 cafe\u0301 \ufb01", "\u4f60\u597d\uff0c\u4e16\u754c", "\U0001f469\u200d\U0001f680", "don't I'LL",
           "<think>x</think>", "a\u00a0b\u3000c\u200b", "x" * 300, "if (a->b != NULL) {\n        return 0;\n}\n", "\u0e01\u0e33\u0301", "\ufffd\u0001"]


def documents():
    """Pieces of Python's own library, as long as 3 MB go."""
    folder, texts, n = sysconfig.get_paths()["stdlib"], [], 0
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".py"): continue
        text = open(os.path.join(folder, name), encoding="utf-8", errors="ignore").read()
        texts += [text[i:i + 4000] for i in range(0, len(text), 4000)]
        n += len(text)
        if n > 3e6: break
    return texts + [t for t in STRANGE if t and "<think>" not in t] * 20    # their trainer learns from special tokens, ours does not


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    with open(folder / "texts.jsonl", "w", encoding="utf-8") as f: f.writelines(json.dumps({"text": t}) + "\n" for t in documents())
    subprocess.run([PROGRAM, "tokenizer", "train", "-o", folder / "out", "--vocab-size", "4096", folder / "texts.jsonl"], check=True, stdout=subprocess.DEVNULL)
    return folder


def test_the_same_vocabulary(learned):
    peer = os.path.join(SOURCE, "bench", "peer_tokenizer_train.py")
    done = subprocess.run([PYTHON, peer, learned / "texts.jsonl", learned / "out" / "tokenizer.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["same"]


def test_the_same_tokens(learned):
    dice = random.Random(1)
    texts = STRANGE + dice.sample(documents(), 30)
    done = subprocess.run([PYTHON, "-c", ENCODE, learned / "out" / "tokenizer.json"], input=json.dumps(texts), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    ids, back = json.loads(done.stdout)
    assert back == texts
    for text, expected in zip(texts, ids):
        ours = subprocess.run([PROGRAM, "tokenize", "-m", learned / "out", "-f", "-"], input=text.encode(), capture_output=True, check=bool(text)).stdout
        if text: assert [int(i) for i in ours.split()] == expected, text[:80]
