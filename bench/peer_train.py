#!/usr/bin/env python3
"""Training steps and matrix products by PyTorch and transformers, as their users would run them; JSON out.

  peer_train.py step  '{"config": FOLDER, "tokens": 4096, "document": 256, "threads": 2, "steps": 3, "is_compiled": false}'
  peer_train.py lora  the same and {"rank": 8}: an adapter of all linear layers by PEFT, the base in BF16
  peer_train.py gemm  '{"threads": 2, "shapes": [[4096, 512, 1408], ...], "seconds": 0.5}'

A step is forward, loss, backward, clipping, AdamW (fused).  Weights, gradients and moments are BF16 throughout: faster
and smaller than autocast over F32 weights, which r2lm's F32 masters would be the counterpart of; "is_autocast" measures
those.  run_bench.py sets the allocator's environment (huge pages, nothing given back)."""
import json, resource, sys, time
import torch


def step(o):
    import transformers
    transformers.logging.set_verbosity_error()
    config = transformers.AutoConfig.from_pretrained(o["config"])
    is_autocast = o.get("is_autocast", False)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32 if is_autocast else torch.bfloat16,
                                                          attn_implementation=o.get("attention", "sdpa"))
    model.train()
    if "rank" in o:
        import peft
        model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", r=o["rank"], lora_alpha=2 * o["rank"], target_modules="all-linear"))
    n_parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.1, fused=True)
    forward = torch.compile(model) if o.get("is_compiled") else model
    ids = torch.randint(0, config.vocab_size, (o["tokens"] // o["document"], o["document"]))
    seconds = []
    for _ in range(o["steps"] + 1):     # the first one compiles and takes memory
        begin = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_autocast):
            loss = forward(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - begin)
    return dict(seconds=min(seconds[1:]), parameters=n_parameters, loss=loss.item())


def gemm(o):
    """GFLOPS of y = x W^T for each [rows, in, out], best of many."""
    out = []
    for n, k, m in o["shapes"]:
        x, w = torch.randn(n, k, dtype=torch.bfloat16), torch.randn(m, k, dtype=torch.bfloat16)
        best, until = 1e9, time.perf_counter() + o["seconds"]
        while time.perf_counter() < until:
            begin = time.perf_counter()
            torch.matmul(x, w.t())
            best = min(best, time.perf_counter() - begin)
        out.append(2e-9 * n * k * m / best)
    return dict(gflops=out)


def main():
    options = json.loads(sys.argv[2])
    torch.set_num_threads(options["threads"])
    torch.manual_seed(1)
    said = dict(step=step, lora=step, gemm=gemm)[sys.argv[1]](options)
    said["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(said))


if __name__ == "__main__":
    main()
