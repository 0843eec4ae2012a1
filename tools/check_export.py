#!/usr/bin/env python3
"""Trains a small model, exports it, and compares logits: ours on the folder and on the GGUF file, and transformers'.

  check_export.py R2LM MODEL DATA      MODEL: a folder to train for a few steps on DATA (r2lm data prep)

Needs torch and transformers.  Every way to the same weights must give the same perplexity of a text: ours to the last
bit between folder and file, transformers' (F32, eager) to 1e-4 relative.  With MODEL a GGUF file or a deepseek_v3
folder the same holds.
"""
import json, math, os, subprocess, sys, tempfile

def main():
    program, model, data = sys.argv[1:4]
    import torch
    from transformers import AutoModelForCausalLM
    with tempfile.TemporaryDirectory() as work:
        run, file, text = f"{work}/run", f"{work}/model.gguf", f"{work}/text"
        def r2lm(*arguments):
            return subprocess.run([program, *map(str, arguments)], check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout.decode()
        r2lm("train", "pretrain", data, "-m", model, "-o", run, "--steps", 8, "--type", "f32", "--batch-tokens", 256, "--run-tokens", 64,
             "--checkpoint-every", 4, "--warmup", 0, "-q")
        r2lm("train", "export", run, "-o", f"{work}/exported", "-q")
        same = open(f"{run}/model/model.safetensors", "rb").read() == open(f"{work}/exported/model.safetensors", "rb").read()
        r2lm("convert", f"{run}/model", file, "-q")
        with open(text, "w") as out: out.write("".join(f"{i} and {j} are {i + j}; " for i in range(4) for j in range(20)))
        window = 64
        ppl = lambda m: json.loads(r2lm("ppl", "-m", m, "-f", text, "-c", window, "--arithmetic", "f32", "--json"))["perplexity"]
        ours, of_file = ppl(f"{run}/model"), ppl(file)
        tokens = json.loads(r2lm("tokenize", "-m", f"{run}/model", "-f", text, "--json"))
        tokens = [t["id"] if isinstance(t, dict) else t for t in (tokens["tokens"] if isinstance(tokens, dict) else tokens)]
        theirs_model = AutoModelForCausalLM.from_pretrained(f"{run}/model", dtype=torch.float32, attn_implementation="eager").eval()
        loss, n = 0.0, 0
        with torch.no_grad():
            for at in range(0, len(tokens) - window + 1, window):    # the second half of each window is scored, as ppl does
                ids = torch.tensor([tokens[at:at + window]])
                log_p = torch.log_softmax(theirs_model(ids).logits[0].double(), -1)
                for i in range(window // 2, window - 1): loss -= log_p[i, ids[0, i + 1]].item(); n += 1
        theirs = math.exp(loss / n)
    print(f"folder {ours!r}  file {of_file!r}  transformers {theirs!r}  checkpoint's weights {'equal' if same else 'DIFFER'}")
    if ours != of_file or not same or abs(ours / theirs - 1) > 1e-4: sys.exit("export: the models differ")

if __name__ == "__main__": main()
