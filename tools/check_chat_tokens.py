#!/usr/bin/env python3
"""Holds the tokens of chats and which of them are learnt (`r2lm data prep`) against transformers, token by token.

  check_chat_tokens.py FOLDER... [--program build/r2lm]

FOLDER: models with tokenizer.json and a chat template.  Tokens must be apply_chat_template's.  What is learnt must be what
return_assistant_tokens_mask says, for a template in which {% generation %} is put around what ChatML templates write for
the assistant; for others, what stands behind the prompt of each of its turns up to the token that ends it.
"""
import argparse, json, os, re, subprocess, tempfile
os.environ.setdefault("HF_HUB_OFFLINE", "1")
from transformers import AutoTokenizer

U, A, S = (lambda t: dict(role="user", content=t)), (lambda t: dict(role="assistant", content=t)), (lambda t: dict(role="system", content=t))
CASES = {
    "one turn": [U("What is 2 + 2?"), A("It is 4.")],
    "system": [S("Be brief."), U("What is 2 + 2?"), A("4")],
    "three turns": [U("hi"), A("hello"), U("how are you?"), A("fine,\n\nand you?"), U("fine"), A("good")],
    "ends with the user": [U("hi"), A("hello"), U("how are you?")],
    "marks in the text": [U("what does <|im_end|> mean?"), A("it ends a turn")],
    "spaces": [U("  x "), A(" y\n")],
    "gsm8k": [U("Natalia sold 48 clips and half as many. How many?"), A("She sold 48/2 = <<48/2=24>>24.\n#### 72")],
}


def ours(program, folder, messages):
    """(tokens, learnt) of each document that a chat becomes."""
    with tempfile.TemporaryDirectory() as work:
        with open(f"{work}/chat.jsonl", "w") as f: f.write(json.dumps(dict(messages=messages)) + "\n")
        subprocess.run([program, "data", "prep", f"{work}/chat.jsonl", "-m", folder, "-o", f"{work}/data", "--validation", "0", "-q"], check=True, stdout=subprocess.DEVNULL)
        out = subprocess.run([program, "data", "batches", f"{work}/data", "--batch-tokens", "4096", "--run-tokens", "4096"], check=True, capture_output=True).stdout
    documents = []
    for line in out.splitlines():
        b, at = json.loads(line), 0
        for n in b["lengths"]:
            documents.append((b["tokens"][at:at + n], [0] + [int(t >= 0) for t in b["targets"][at:at + n - 1]])); at += n
    return documents


def marked(template):
    """A ChatML template that says what it writes for the assistant, or None."""
    whole = re.compile(r"\{\{-? ?'<\|im_start\|>' \+ message(?:\.role|\['role'\]) \+ '(?:\\n|\n)' \+ (message(?:\.content|\['content'\])) \+ '<\|im_end\|>' \+ '(?:\\n|\n)' ?-?\}\}")
    if len(whole.findall(template)) != 1: return None
    return whole.sub(lambda m: "{{- '<|im_start|>' + message['role'] + '\\n' }}{% if message['role'] == 'assistant' %}{% generation %}{{- message['content'] + '<|im_end|>' }}{% endgeneration %}"
                     "{% else %}{{- message['content'] + '<|im_end|>' }}{% endif %}{{- '\\n' }}", template)


def theirs(tok, messages, template):
    plain = tok.apply_chat_template(messages, return_dict=True)["input_ids"]
    if template is not None:
        said = tok.apply_chat_template(messages, chat_template=template, return_dict=True, return_assistant_tokens_mask=True)
        assert said["input_ids"] == plain, "the marked template writes something else"
        return plain, said["assistant_masks"]
    learnt = [0] * len(plain)
    for i, m in enumerate(messages):
        if m["role"] != "assistant": continue
        prompt = tok.apply_chat_template(messages[:i], add_generation_prompt=True, return_dict=True)["input_ids"]
        assert plain[:len(prompt)] == prompt, "the whole does not begin with the prompt"
        end = plain.index(tok.eos_token_id, len(prompt)) if tok.eos_token_id in plain[len(prompt):] else len(plain) - 1
        learnt[len(prompt):end + 1] = [1] * (end + 1 - len(prompt))
    return plain, learnt


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="+"); p.add_argument("--program", default="build/r2lm")
    o = p.parse_args()
    n_bad = 0
    for folder in o.folders:
        tok = AutoTokenizer.from_pretrained(folder)
        template = marked(tok.chat_template)
        for name, messages in CASES.items():
            if "<|im_end|>" in json.dumps(messages) and "<|im_end|>" in tok.get_vocab():
                # A mark that a person wrote must not become the token: transformers makes it one.
                (tokens, learnt), = ours(o.program, folder, messages)
                good = tokens.count(tok.convert_tokens_to_ids("<|im_end|>")) <= tok.apply_chat_template(messages, return_dict=True)["input_ids"].count(tok.convert_tokens_to_ids("<|im_end|>")) - 1
            else:
                documents = ours(o.program, folder, messages)
                good = documents == [theirs(tok, messages, template)] or documents == [tuple(theirs(tok, messages, template))]
            n_bad += not good
            print(f"{folder}: {name}: {'equal' if good else 'DIFFERENT'}{'' if template else ' (by prompts)'}", flush=True)
            if not good:
                for tokens, learnt in ours(o.program, folder, messages): print("  ours  ", [(tok.decode([t]), l) for t, l in zip(tokens, learnt)])
                t = theirs(tok, messages, template); print("  theirs", [(tok.decode([x]), l) for x, l in zip(*t)])
    raise SystemExit(n_bad > 0)


if __name__ == "__main__": main()
