"""r2lm data from outside: what becomes of texts and chats, what is left out, what is refused.  The files are read here by their
description in docs/formats.md and compared with `r2lm tokenize`.
"""
import json, os, struct
from cli_client import MEMORY, TOY, USAGE, here, home, r2lm, refused   # noqa: F401  (fixtures)

NO_TARGET = 1 << 31


def prep(*inputs, to="out", **more):
    return json.loads(r2lm("data", "prep", "-m", TOY, "-o", to, "--validation", 0, "--force", "--json", *inputs, **more).out)


def tokens_of(text):
    return [int(t) for t in r2lm("tokenize", "-m", TOY, "-f", "-", stdin=text).out.split()]


def documents(folder, split="train"):
    found = []
    for shard in json.load(open(os.path.join(folder, "manifest.json")))["shards"]:
        if shard["split"] != split: continue
        data = open(os.path.join(folder, shard["file"]), "rb").read()
        assert data[:8] == data[-8:] == b"r2lmtok1"
        n_documents, n_tokens, _ = struct.unpack("<QQQ", data[-32:-8])
        tokens = struct.unpack(f"<{n_tokens}I", data[8:8 + 4 * n_tokens])
        ends = struct.unpack(f"<{n_documents}Q", data[-32 - 8 * n_documents:-32])
        found += [tokens[a:b] for a, b in zip((0,) + ends, ends)]
    return found


def write(name, text):
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    open(name, "w").write(text)
    return name


def test_texts_become_their_tokens():
    a, b = "the thing on a hill\nand more\n", "another text, of one line"
    write("in/b.txt", b), write("in/a.txt", a), write("in/.hidden", "not me"), write("in/deep/c.md", "a third one")
    open("in/picture.png", "wb").write(b"\x89PNG\0\xff\xfe")
    said = prep("in")
    got = documents("out")
    end = got[0][-1]
    assert [list(d[:-1]) for d in got] == [tokens_of(t) for t in (a, b, "a third one")] and all(d[-1] == end for d in got)
    assert said["train"] == {"documents": 3, "tokens": sum(map(len, got)), "targets": sum(len(d) - 1 for d in got)}
    assert said["files_read"] == 4 and said["files_passed_over"] == 1
    assert json.loads(r2lm("data", "show", "out", "-m", TOY, "--json").out)["train"] == said["train"]


def test_marks_pipes_and_lines():
    whole = prep("-", "--mark", "---", stdin="one text\n---\nanother\r\n---\n---\nthe last")
    assert whole["documents_read"] == 3
    assert [list(d[:-1]) for d in documents("out")] == [tokens_of("one text\n"), tokens_of("another\n"), tokens_of("the last")]
    lines = '{"text": "one text\\n"}\n\n{"content": "another\\n"}\n'
    assert prep("-", stdin=lines)["train"]["documents"] == 2
    assert documents("out")[0][:-1] == tuple(tokens_of("one text\n"))


def learnt(document):
    """Runs of tokens that are targets."""
    runs, now = [], []
    for token in document + (NO_TARGET,):
        if token & NO_TARGET and now: runs, now = runs + [now], []
        elif not token & NO_TARGET: now.append(token)
    return runs


def special(text):
    return [int(t) for t in r2lm("tokenize", "-m", TOY, "--special", "-f", "-", stdin=text).out.split()]


def test_of_a_chat_the_answers_are_learnt():
    """The toy's template opens thoughts before each answer, and shows none later: every turn is a document of its own."""
    question, answers = "What is on the hill?", ["A thing.", "Another thing."]
    chat = {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answers[0]},
                         {"role": "user", "content": "And now?"}, {"role": "assistant", "content": "<think>\nwell\n</think>\n\n" + answers[1]}]}
    write("chat.jsonl", json.dumps(chat) + "\n")
    said = prep("chat.jsonl")
    first, second = documents("out")
    [one], [two] = learnt(first), learnt(second)
    end = special("<|im_end|>")
    assert one == special(answers[0]) + end and two == special("well\n</think>\n\n" + answers[1]) + end
    read = [t & ~NO_TARGET for t in second]
    assert read[:len(read) - len(two)] == special(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answers[0]}<|im_end|>\n"
                                                  "<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n<think>\n")
    assert said["train"] == {"documents": 2, "tokens": len(first) + len(second), "targets": len(one) + len(two)}
    assert prep("chat.jsonl", "--learn-all")["train"]["targets"] == len(first) + len(second) - 2
    write("pairs.jsonl", "".join(json.dumps(o) + "\n" for o in (
        {"question": question, "answer": answers[0]}, {"prompt": question, "completion": answers[1]},
        {"instruction": "Say it.", "input": "the thing", "output": "It."})))
    prep("pairs.jsonl")
    assert [learnt(d) for d in documents("out")] == [[special(a) + end] for a in (answers[0], answers[1], "It.")]


def test_what_is_left_out():
    words = " ".join(f"word{i}" for i in range(60))
    write("a.jsonl", "".join(json.dumps({"text": t}) + "\n" for t in (
        words, words.upper() + "!", words.replace("word59", "other"), "in an evaluation: " + " ".join(f"secret{i}" for i in range(20)), "...", "short")))
    write("test.jsonl", json.dumps({"question": " ".join(f"secret{i}" for i in range(30)), "answer": "4"}) + "\n")
    said = prep("a.jsonl", "--held-out", "test.jsonl")
    assert (said["copies"], said["near_copies"], said["held_out"], said["empty"], said["train"]["documents"]) == (1, 1, 1, 1, 2)
    write("test.jsonl", json.dumps({"task_id": 0, "prompt": " ".join(f"secret{i}" for i in range(30)), "canonical_solution": "4"}) + "\n")   # as HumanEval's
    assert prep("a.jsonl", "--held-out", "test.jsonl")["held_out"] == 1
    assert prep("a.jsonl", "--keep-copies")["train"]["documents"] == 5


def test_the_same_text_goes_to_the_same_side():
    texts = [f"text number {i} of many" for i in range(400)]
    def sides(order, to):
        write(f"{to}.jsonl", "".join(json.dumps({"text": texts[i]}) + "\n" for i in order))
        r2lm("data", "prep", "-m", TOY, "-o", to, "--validation", 0.25, f"{to}.jsonl")
        return set(documents(to, "validation")), set(documents(to))
    one, two = sides(range(400), "x"), sides(range(399, -1, -1), "y")
    assert one == two and not one[0] & one[1] and 60 < len(one[0]) < 140


def test_nothing_put_aside_is_said():
    write("in.txt", "a text")
    assert "validation" in r2lm("data", "prep", "-m", TOY, "-o", "x", "--validation", 1e-9, "in.txt").err
    assert r2lm("data", "prep", "-m", TOY, "-o", "y", "--validation", 0, "in.txt").err == ""


def test_same_bytes_every_time():
    write("in.txt", "the thing on a hill\n" * 30)
    prep("in.txt", to="x"), prep("in.txt", to="y")
    for name in sorted(os.listdir("x")): assert open(f"x/{name}", "rb").read() == open(f"y/{name}", "rb").read()


def test_what_is_wrong_is_said():
    write("good.txt", "a text")
    refused("data", "prep", "-m", TOY, "good.txt", code=USAGE, says="-o DIR")
    refused("data", "prep", "-m", TOY, "-o", "out", code=USAGE, says="files or folders")
    refused("data", "frob", code=USAGE, says="prep, show, traces or batches")
    refused("data", "prep", "-m", TOY, "-o", "out", "nowhere.txt", says="nowhere.txt")
    refused("data", "prep", "-m", TOY, "-o", "out", write("empty.txt", ""), code=USAGE, says="something to train on")
    refused("data", "prep", "-m", TOY, "-o", "out", write("bad.jsonl", '{"text": "a b"}\n{"txt": 1}\n'), says='bad.jsonl:2: expected "text", "messages"')
    refused("data", "prep", "-m", TOY, "-o", "out", write("cut.jsonl", '{"text": "a b"}\n{"text": "c'), says="cut.jsonl:2")
    refused("data", "prep", "-m", TOY, "-o", "out", write("mute.jsonl", '{"messages": [{"role": "user", "content": "hi"}]}\n'), says="mute.jsonl:1: messages: expected a turn of the assistant")
    open("zero.txt", "wb").write(b"a\0b")
    refused("data", "prep", "-m", TOY, "-o", "out", "zero.txt", says="zero.txt: expected UTF-8")
    refused("data", "prep", "-m", TOY, "-o", "good.txt", "good.txt", code=USAGE, says="good.txt")
    refused("data", "show", ".", says="manifest.json")


def test_changed_data_are_noticed():
    prep(write("in.txt", "the thing on a hill\n" * 30))
    r2lm("convert", TOY, "other")
    file = "out/train-00000.tokens"
    data = bytearray(open(file, "rb").read())
    data[40] ^= 1
    open(file, "wb").write(data)
    refused("data", "show", "out", says="its checksum differs")


def test_full_disk(tmp_path):
    import resource
    write("in.txt", "the thing on a hill\n" * 3000)
    for n in (100, 5000, 100000):
        refused("data", "prep", "-m", TOY, "-o", "out", "in.txt", code=MEMORY, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)))
