"""Rows of `ROWS=train` and `ROWS=lora`: products and training steps beside PyTorch, transformers and PEFT, in turns, in one run.

A step row is one entry of STEPS; what it needs beside: a folder with its config.json in bench/configs/.  `ours` are more
arguments of bench_train, `peers` the peers' names and what each is told (peer_train.py; another program by "program")."""
import json, os

HERE = os.path.dirname(os.path.abspath(__file__))
OURS = "r2lm"
# Huge pages, and an allocator that gives nothing back: without them PyTorch spends a fifth of a step on page faults.
TUNED = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(256 << 20)}
EAGER, COMPILED = "eager", "compiled"
PEERS = {EAGER: {}, COMPILED: {"is_compiled": True}}

# goals: times faster than a peer; share of the machine's peak, counted as 6 * parameters * tokens; most bytes per parameter, activations not counted
STEPS = [
    dict(name="step30m", title="step, Llama 30M, 16 x 256 tokens", config="llama-30m", tokens=4096, document=256, ours=[], peers=PEERS,
         faster={EAGER: 1.5, COMPILED: 1.2}, share=0.65, bytes=20),
    dict(name="step135m", title="step, SmolLM2-135M, 8 x 256 tokens", config="smollm2-135m", tokens=2048, document=256, ours=[], peers=PEERS,
         faster={EAGER: 1.4, COMPILED: None}, share=None, bytes=20),
    dict(name="stepr2", title="step, r2-22M, 16 x 512 tokens", config="r2-22m", tokens=8192, document=512, ours=[], peers=PEERS,
         faster={EAGER: None, COMPILED: 2.2}, share=None, gflops=400, bytes=20),
    dict(name="step30m-muon", title="  the same by Muon, 30M", config="llama-30m", tokens=4096, document=256, ours=["--muon"], peers={}, faster={}, share=None, bytes=16),
]
# rows, in, out: the linear layers of the models above and of Qwen2.5-Coder-0.5B
GEMM = [[4096, 512, 1536], [4096, 512, 512], [4096, 512, 2816], [4096, 1408, 512], [4096, 512, 8192],
        [2048, 576, 960], [2048, 576, 3072], [2048, 1536, 576], [2048, 576, 49152], [2048, 896, 9728], [2048, 4864, 896]]
WIDTHS = (38, 10, 10, 10, 10, 10, 8, 14, 14, 34)


def line(*cells):
    print(" ".join(f"{c:<{w}}" if i in (0, 9) else f"{c:>{w}}" for i, (c, w) in enumerate(zip(cells, WIDTHS))), flush=True)


def judge(table, goals):
    """goals: (text, met or None); prints nothing, counts one."""
    if not goals: return ""
    met = [m for _, m in goals]
    verdict = "?" if None in met else "met" if all(met) else "MISSED"
    table.n_met += verdict == "met"
    table.n_missed += verdict != "met"
    return ", ".join(t for t, _ in goals) + " " + verdict


class Runner:
    def __init__(self, b, run, json_of, Missing):
        self.b, self.run, self.json_of, self.Missing = b, run, json_of, Missing

    def python(self):
        path = self.b.peers and os.path.join(self.b.peers, "torch", "bin", "python")
        if not path or not os.path.exists(path): raise self.Missing("PyTorch is not installed, see bench/install_peers.sh")
        return path

    def peer(self, what, told):
        told = dict(told)
        return self.peer_with(told.pop("program", "peer_train.py"), told, what)

    def peer_with(self, program, told, *words):
        env = dict(os.environ, **TUNED, OMP_NUM_THREADS=str(self.b.o.threads))
        return self.json_of(self.run([self.python(), os.path.join(HERE, program), *words, json.dumps(dict(told, threads=self.b.o.threads))], env=env))

    def ours(self, arguments):
        return self.json_of(self.run([os.path.join(self.b.build, "bench_train"), "--threads", str(self.b.o.threads), *map(str, arguments)]))

    def products(self, seconds):
        return self.json_of(self.run([os.path.join(self.b.build, "bench_products"), str(self.b.o.threads), str(seconds), *("x".join(map(str, s)) for s in GEMM)]))

    def step(self, row, engine):
        if engine == OURS:
            made = os.path.join(self.b.build, "bench-models", row["name"])
            os.makedirs(os.path.dirname(made), exist_ok=True)
            return self.ours([os.path.join(HERE, "configs", row["config"]), "--init", made, "--tokens", row["tokens"], "--document", row["document"], "--steps", 4, *row["ours"]])
        return self.peer("step", dict(config=os.path.join(HERE, "configs", row["config"]), tokens=row["tokens"], document=row["document"], steps=4, **row["peers"][engine]))


def turns(r, row_name, engines, measure, best, key):
    """One measurement of every engine; the best so far is kept."""
    b = r.b
    b.machine()
    for engine in engines:
        try: said = measure(engine)
        except r.Missing as why:
            b.lack(f"{engine}, {row_name}", why)
            continue
        b.note(row_name, engine, key, said[key])
        if engine not in best or said[key] < best[engine][key]: best[engine] = said
    b.machine()


def step_row(r, table, row):
    b, best, mark = r.b, {}, len(r.b.limits["bf16"])
    for _ in range(min(b.o.rounds, 3)):
        turns(r, row["name"], [OURS, *row["peers"]], lambda engine: r.step(row, engine), best, "seconds")
    ours, peak = best.get(OURS), max(b.limits["bf16"][mark:] or [0])
    seconds = lambda e: f"{best[e]['seconds']:.3f} s" if e in best else "-"
    ratio = lambda e: best[e]["seconds"] / ours["seconds"] if ours and e in best else None
    show = lambda e: f"{ratio(e):.2f}x" if ratio(e) else "-"
    share = ours and peak and ours["gflops"] / peak
    kept = ours and (ours["memory_bytes"] - ours["activation_bytes"]) / ours["parameters"]
    goals = [(f">= {goal}x {e}", None if ratio(e) is None else ratio(e) >= goal) for e, goal in row["faster"].items() if goal]
    if row["share"]: goals.append((f">= {100 * row['share']:.0f} %", share and share >= row["share"]))
    if row.get("gflops"): goals.append((f">= {row['gflops']} GFLOPS", ours and ours["gflops"] >= row["gflops"]))
    if row["bytes"]: goals.append((f"<= {row['bytes']} B", kept and kept <= row["bytes"]))
    names = [*row["peers"], "", ""]
    line(row["title"], seconds(names[0]), seconds(names[1]), seconds(OURS), show(names[0]), show(names[1]), f"{100 * share:.0f} %" if share else "-",
         f"{ours['gflops']:.0f} GFLOPS" if ours else "-", f"{kept:.1f} B/param" if kept else "-", judge(table, goals))
    if ours:
        memory = ", ".join(f"{k[:-6].replace('_', ' ')} {v / 1048576:.0f}" for k, v in ours.items() if k.endswith("_bytes") and v)
        print(f"    memory, MiB: {memory}" + "".join(f"; {e} {best[e]['peak_bytes'] / 1048576:.0f} peak" for e in row["peers"] if e in best))


def expert_row(r, table):
    """Experts, routing, gathering and adding up included, beside a dense layer of as many numbers per token: what r2-22M's step takes
    longer than that of a model with 16 columns inside its layers, and what one with 640 (4 experts and the shared one) takes longer."""
    best = {}
    for _ in range(min(r.b.o.rounds, 3)):
        for name in ("r2-22m", "r2-22m-dense", "r2-22m-thin"):
            said = r.step(dict(name=name, config=name, tokens=8192, document=512, ours=[]), OURS)
            best[name] = min(best.get(name, 1e9), said["seconds"] - said["optimizer_seconds"])
    experts, dense = (best[name] - best["r2-22m-thin"] for name in ("r2-22m", "r2-22m-dense"))
    for name, value in best.items(): r.b.note(f"experts {name}", OURS, "seconds", value)
    # r2-22M's first layer is dense, and wider: 7 layers of 5 experts of 128 columns and one of 768, against 8 of 640.
    share = dense / experts * (7 * 5 * 128 + 768 - 8 * 16) / (8 * (640 - 16))
    line("  its experts, of a dense layer's speed", "", "", f"{experts:.3f} s", "", "", "", f"{100 * share:.0f} %", "", judge(table, [(">= 85 %", share >= 0.85)]))


def gemm_rows(r, table):
    b, best = r.b, {}
    seconds = 0.25
    for _ in range(min(b.o.rounds, 3)):
        b.machine()
        for engine in (OURS, EAGER):
            try: said = r.products(seconds) if engine == OURS else r.peer("gemm", dict(shapes=GEMM, seconds=seconds))
            except r.Missing as why:
                b.lack(f"{engine}, products", why)
                continue
            best[engine] = [max(pair) for pair in zip(said["gflops"], best.get(engine, [0] * len(GEMM)))]
    peak = max(b.limits["bf16"] or [0])
    for i, (n, k, m) in enumerate(GEMM):
        got = {e: v[i] for e, v in best.items()}
        ratio = got[OURS] / got[EAGER] if len(got) == 2 else None
        for engine, value in got.items(): b.note(f"gemm {n}x{k}x{m}", engine, "gflops", value)
        line(f"BF16 product {n} x {k} x {m}, GFLOPS", *(f"{got[e]:.0f}" if e in got else "-" for e in (EAGER,)), "", f"{got.get(OURS, 0):.0f}", f"{ratio:.2f}x" if ratio else "-", "",
             f"{100 * got[OURS] / peak:.0f} %" if OURS in got and peak else "-", "", "", judge(table, [(">= 1x oneDNN", ratio and ratio >= 1)]))


def measure(b, table, run, json_of, Missing):
    r = Runner(b, run, json_of, Missing)
    print()
    line("training", EAGER, COMPILED, OURS, "of eager", "of comp.", "of peak", "6 P tokens", "kept memory", "goal")
    wanted = b.o.train.split(",") if b.o.train else None
    if not wanted or "gemm" in wanted: gemm_rows(r, table)
    for row in STEPS:
        if not wanted or row["name"] in wanted: step_row(r, table, row)
    if not wanted or "experts" in wanted: expert_row(r, table)


# An adapter of all linear layers; ours over the very file that one runs (Q4_K_M), theirs over BF16 weights.
LORA = dict(rank=8, tokens=2048, document=256, steps=3)
LORA_FASTER, LORA_MEMORY = 1.4, 0.25


def measure_lora(b, table, run, json_of, Missing):
    r, best, path = Runner(b, run, json_of, Missing), {}, b.model("q4km")
    if not path: return
    told = dict(LORA, config=os.path.join(HERE, "configs", "qwen2.5-coder-0.5b"))
    ours = [path, "--lora", LORA["rank"], "--tokens", LORA["tokens"], "--document", LORA["document"], "--steps", LORA["steps"]]
    for _ in range(min(b.o.rounds, 2)):
        turns(r, "lora", [OURS, "peft"], lambda engine: r.ours(ours) if engine == OURS else r.peer("lora", told), best, "seconds")
    print()
    line("adapters", "peft", "", OURS, "of peft", "", "", "peak memory", "of peft", "goal")
    if len(best) < 2: return
    mine, theirs = best[OURS], best["peft"]
    ratio, share = theirs["seconds"] / mine["seconds"], mine["peak_bytes"] / theirs["peak_bytes"]
    line("LoRA step, Qwen2.5-Coder-0.5B, 8 x 256", f"{theirs['seconds']:.2f} s", "", f"{mine['seconds']:.2f} s", f"{ratio:.2f}x", "", "", f"{mine['peak_bytes'] / 2**30:.2f} GiB",
         f"{100 * share:.0f} %", judge(table, [(f">= {LORA_FASTER}x", ratio >= LORA_FASTER), (f"<= {100 * LORA_MEMORY:.0f} %", share <= LORA_MEMORY)]))
