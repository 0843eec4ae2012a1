#!/usr/bin/env python3
"""r2lm beside llama.cpp and ik_llama.cpp, row by row, in one run.

  run_bench.py [--build build] [--rows all|decode,prefill,...] [--threads 2] [--rounds 3] [--csv FILE] [--no-peers]

Engines take turns (r2lm, llama.cpp, ik_llama.cpp, and again), the best of all rounds counts, memory bandwidth and peak
arithmetic are measured in the same rounds.  "limit" is what the machine allows: bytes per token at the bandwidth measured
beside, operations at the peak measured beside, whichever is slower.  Engines or models that are not there are named under
the table.  Every single sample goes to the CSV file.
"""
import argparse, csv, json, os, random, resource, shutil, signal, statistics, subprocess, sys, tempfile, time
from gguf_facts import read_facts
import mpi_rows
import grpo_rows, peer_servers, train_rows

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "r2lm")
OURS, LLAMA, IK = "r2lm", "llama.cpp", "ik_llama.cpp"
ENGINES = (OURS, LLAMA, IK)
MODELS = dict(q4km="Qwen2.5-Coder-0.5B Q4_K_M", smol="SmolLM2-135M Q4_1", q40="0.5B as Q4_0", bf16="0.5B as BF16", q4k15="1.5B shape, genuine Q4_K",
              r1="R1-shaped layers, Q4_K", v2lite="V2-Lite shape, Q4_K_M", mla="16 heads, latent cache", gqa="16:4 heads", experts="64 experts", dense="no experts")
# key -> (file, shape of tools/make_random_gguf.py, more arguments)
RANDOM = dict(q4k15=("r1-distill-qwen-1.5b-random-q4_k.gguf", "r1-distill-qwen-1.5b", "--pure"), r1=("deepseek-r1-layers-random.gguf", "deepseek-r1-layers", "--pure"),
              v2lite=("deepseek-v2-lite-random.gguf", "deepseek-v2-lite"), mla=("mla-heads-random.gguf", "mla-heads", "--pure"), gqa=("gqa-heads-random.gguf", "gqa-heads", "--pure"),
              experts=("experts-random.gguf", "experts", "--pure"), dense=("no-experts-random.gguf", "no-experts", "--pure"))


LARGE = dict(v2lite=10.4e9, r1=6.8e9)     # bytes: only where they fit twice in memory and once on disk


# ---------------------------------------------------------------- rows
class Row:
    """group and what is measured: metric of `work` on `model`; goals: ratio to the best peer, share of the limit.  is_per_layer: shown as ms."""
    def __init__(self, group, title, model, metric, ratio=None, share=None, is_per_layer=False, **work):
        self.group, self.title, self.model, self.metric, self.ratio, self.share = group, title, model, metric, ratio, share
        self.is_per_layer, self.work = is_per_layer, work


def make_rows():
    base = dict(prefill=256, decode=64, streams=1, depth=0)
    wide = dict(prefill=0, decode=0, streams=32, depth=0)
    rows = []
    add = lambda *a, **k: rows.append(Row(*a, **k))
    add("decode", "decode, 1 stream, {m}", "q4km", "decode_tok_s", 1.1, 0.92, **base)
    add("decode", "decode, 1 stream, {m}", "smol", "decode_tok_s", 1.25, None, **base)
    add("decode", "decode, 1 stream, {m}", "q40", "decode_tok_s", 1.08, 0.92, **base)
    add("prefill", "prefill 256, {m}", "q4km", "prefill_tok_s", 1.5, None, **base)
    add("prefill", "prefill 256, {m}", "smol", "prefill_tok_s", 1.4, None, **base)
    add("prefill", "prefill 256, {m}", "q40", "prefill_tok_s", 1.4, None, **base)
    add("prefill", "prefill 256, {m}", "bf16", "prefill_tok_s", 1.05, None, **base)
    add("genuine", "decode, 1 stream, {m}", "q4k15", "decode_tok_s", None, 0.95, **base)
    add("genuine", "prefill 256, {m}", "q4k15", "prefill_tok_s", 1.25, 0.5, **base)
    add("batch", "decode, 32 streams, {m}", "q4km", "batch_decode_tok_s", 3.5, None, **wide)
    add("batch", "decode, 32 streams, {m}", "q40", "batch_decode_tok_s", 1.6, None, **wide)
    add("batch", "decode, 32 streams, {m}", "smol", "batch_decode_tok_s", 6.0, None, **wide)
    add("v2lite", "decode, 1 stream, {m}", "v2lite", "decode_tok_s", 1.2, None, **base)
    add("v2lite", "prefill 256, {m}", "v2lite", "prefill_tok_s", 1.5, None, **base)
    few = dict(prefill=128, decode=32, streams=1, depth=0)
    add("r1layers", "decode, ms per layer, {m}", "r1", "decode_tok_s", None, 0.8, is_per_layer=True, **few)
    add("r1layers", "prefill 128, ms per token and layer, {m}", "r1", "prefill_tok_s", None, None, is_per_layer=True, **few)
    for depth, ratio, prefill in ((4096, None, 1.6), (16384, 2.2, 1.6)):
        deep = dict(prefill=depth, decode=32, streams=1, depth=depth, rounds=1)
        add("depth", f"decode at {depth // 1024}k of context, {{m}}", "q4km", "decode_tok_s", ratio, None, **deep)
        add("long", f"prefill {depth:,} tokens, {{m}}", "q4km", "prefill_tok_s", prefill, None, **deep)
    return rows


GROUPS = "decode prefill genuine batch v2lite r1layers depth long busy start tokenize vocabulary memory prompt8k quantize mla32k experts draft serve structured train lora grpo mpi sandbox humaneval".split()


# ---------------------------------------------------------------- running things
class Missing(Exception): pass


def run(command, timeout=900, env=None, cwd=None, has_stderr=False):
    """stdout of a command (and what it says beside); Missing with the last line it said when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env, cwd=cwd, errors="replace")
    except subprocess.TimeoutExpired:
        raise Missing(f"{os.path.basename(command[0])}: more than {timeout} s")
    except OSError as error:
        raise Missing(str(error))
    if done.returncode != 0:
        said = [l for l in (done.stderr + done.stdout).strip().splitlines() if l.strip()] or [""]
        first = next((l for l in said if "error" in l.lower() or "assert" in l.lower()), said[-1])
        raise Missing(f"{os.path.basename(command[0])} ended with {done.returncode}: {first[:160]}")
    return done.stdout + (done.stderr if has_stderr else "")


def json_of(text):
    """The JSON object in a program's output."""
    at = text.find("{")
    if at < 0: raise Missing("no JSON in the output")
    try: return json.loads(text[at:])
    except ValueError as error: raise Missing(f"bad JSON: {error}")


def peak_memory(command):
    """(stdout, VmHWM in bytes) of a child."""
    with tempfile.TemporaryFile() as out, open(os.devnull, "wb") as err:
        child = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0: raise Missing(f"{os.path.basename(command[0])} ended with {child.returncode}")
        out.seek(0)
        return out.read().decode(errors="replace"), usage.ru_maxrss * 1024


class Bench:
    def __init__(self, options):
        self.o = options
        self.build = os.path.abspath(options.build)
        self.program = os.path.join(self.build, "r2lm")
        self.peers = None
        self.missing = {}     # what -> why, each once
        self.samples = []     # csv rows
        self.paths, self.facts = {}, {}
        self.limits = dict(gb_s=[], int8=[], bf16=[])
        self.flash_fails = set()

    def lack(self, what, why):
        if what not in self.missing:
            self.missing[what] = str(why)
            print(f"  missing: {what}: {why}", file=sys.stderr, flush=True)

    # ------------------------------------------------ models
    def model(self, key):
        if key not in self.paths:
            try: self.paths[key] = self.find_model(key)
            except Missing as why:
                self.lack(MODELS[key], why)
                self.paths[key] = None
            if self.paths[key]: self.facts[key] = read_facts(self.paths[key])
        return self.paths[key]

    def find_model(self, key):
        fetch = lambda name: run([os.path.join(ROOT, "tools", "fetch_models.sh"), name]).strip().splitlines()[-1]
        if key == "q4km": return fetch("qwen05")
        if key == "smol": return fetch("smollm2")
        made = os.path.join(CACHE, "models", "made")
        os.makedirs(made, exist_ok=True)
        path = os.path.join(made, RANDOM[key][0] if key in RANDOM else dict(q40="qwen0.5b-q4_0.gguf", bf16="qwen0.5b-bf16.gguf")[key])
        n_bytes = LARGE.get(key, 0)
        if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 2 * n_bytes: raise Missing(f"needs {2e-9 * n_bytes:.0f} GB of memory")
        if os.path.exists(path): return path
        if shutil.disk_usage(made).free < n_bytes + 5e9: raise Missing(f"needs {1e-9 * n_bytes + 5:.0f} GB on the disk")
        python = self.peer_python() or sys.executable
        print(f"  making {path}", file=sys.stderr, flush=True)
        part = path[:-5] + ".part.gguf"
        if key in RANDOM: command = [python, os.path.join(ROOT, "tools", "make_random_gguf.py"), RANDOM[key][1], part, *RANDOM[key][2:]]
        else: command = [self.program, "quantize", self.model("q4km") or "", part, "--no-measure", *dict(q40=["--type", "Q4_0", "--role", "output=Q8_0"], bf16=["--type", "BF16"])[key]]
        run(command, timeout=1800)
        os.rename(part, path)
        return path

    # ------------------------------------------------ engines
    def find_peers(self, parts):
        if self.o.no_peers:
            self.lack("peers", "--no-peers")
            return
        try: self.peers = subprocess.run([os.path.join(ROOT, "bench", "install_peers.sh"), *parts], stdout=subprocess.PIPE, text=True, check=True).stdout.strip().splitlines()[-1]
        except (subprocess.CalledProcessError, OSError, IndexError) as why: self.lack("peers", why)

    def peer_python(self):
        path = self.peers and os.path.join(self.peers, "venv", "bin", "python")
        return path if path and os.path.exists(path) else None

    def llama(self, *arguments):
        python = self.peer_python()
        if not python: raise Missing("not installed, see bench/install_peers.sh")
        return [python, os.path.join(ROOT, "bench", "peer_llama_cpp.py"), *map(str, arguments)]

    def ik(self, tool, *arguments):
        path = self.peers and os.path.join(self.peers, "ik", "bin", tool)
        if not path or not os.path.exists(path): raise Missing("not built, see bench/install_peers.sh")
        return [path, *map(str, arguments)]

    def ours(self, model, threads=None, **work):
        command = [self.program, "bench", "-m", model, "-t", threads or self.o.threads, "-p", work.get("prefill") or 16, "-n", work.get("decode") or (32 if work.get("streams", 1) > 1 else 1),
                   "--streams", work.get("streams", 1), "--depth", work.get("depth", 0), "--json"]
        return list(map(str, command))

    def speed(self, engine, key, work, threads=None):
        """dict of metrics of one engine for one piece of work."""
        path, threads = self.model(key), threads or self.o.threads
        if not path: raise Missing("no model")
        if engine == OURS:
            if work["depth"] and work["prefill"] == work["depth"]:   # a long prompt and decoding behind it
                out = json_of(run(self.ours(path, threads, **dict(work, depth=0, decode=1))))
                deep = json_of(run(self.ours(path, threads, **dict(work, prefill=16))))
                return dict(out, decode_tok_s=deep.get("decode_tok_s"), read_gb_s=deep.get("read_gb_s"))
            return json_of(run(self.ours(path, threads, **work)))
        if engine == LLAMA: return json_of(run(self.llama("speed", path, json.dumps(dict(work, threads=threads)))))
        return self.speed_ik(key, path, work, threads)

    def speed_ik(self, key, path, work, threads):
        out = {}
        if work["prefill"] or work["decode"]:
            tests = ["-p", work["prefill"]]
            tests += ["-n", 0, "-gp", f"{work['depth']},{work['decode']}"] if work["depth"] else ["-n", work["decode"]]
            # Latent attention: its best form of it, fused experts, weights repacked.
            if self.facts.get(key, {}).get("is_latent"): tests += ["-mla", 3, "-fa", 1, "-fmoe", 1, "-rtr", 1]
            text = run(self.ik("llama-bench", "-m", path, *tests, "-t", threads, "-r", 1 if work["depth"] else 2, "-o", "json"))
            try: entries = json.loads("[" + text[text.index("\n  {"):])     # what it says of the file stands before
            except ValueError: raise Missing("llama-bench printed no figures; it cannot run this file")
            for entry in entries:
                best = max(entry["samples_ts"])
                is_decode = entry["n_gen"] > 0
                out["decode_tok_s" if is_decode else "prefill_tok_s"] = best
        if work["streams"] > 1:
            # Its flash attention asserts on some batch shapes; then without.
            flash = ["off"] if path in self.flash_fails else ["on", "off"]
            for setting in flash:
                try:
                    text = run(self.ik("llama-batched-bench", "-m", path, "-c", work["streams"] * 256, "-b", 2048, "-ub", 512, "-t", threads,
                                       "-fa", setting, "-npp", 16, "-ntg", 32, "-npl", work["streams"]), has_stderr=True)
                    lines = [l for l in text.splitlines() if l.startswith("|") and l.split("|")[1].strip().isdigit()]
                    if not lines: raise Missing("llama-batched-bench printed no result")
                    out["batch_decode_tok_s"] = float(lines[-1].split("|")[8])
                    break
                except Missing:
                    self.flash_fails.add(path)
                    if setting == flash[-1]: raise
        return out

    def machine(self):
        """One sample of what the machine can do now."""
        for program, keys in (("bandwidth", (("best_gb_s", "gb_s"),)), ("peak", (("int8_gops", "int8"), ("bf16_gflops", "bf16")))):
            try:
                seconds = "0.4" if program == "bandwidth" else "0.2"
                said = json_of(run([os.path.join(self.build, program), str(self.o.threads), seconds]))
                for key, name in keys: self.limits[name].append(said[key])
            except Missing as why: self.lack(program, why)

    def note(self, row, engine, metric, value):
        self.samples.append([time.strftime("%H:%M:%S"), row, engine, metric, f"{value:.6g}", self.limits["gb_s"][-1] if self.limits["gb_s"] else ""])

    # ------------------------------------------------ limits
    def limit(self, row, mark):
        """tokens per second that bytes and operations allow, with the best of what was measured since `mark`."""
        facts, work = self.facts.get(row.model), row.work
        gb_s = max(self.limits["gb_s"][mark[0]:] or [0]) * 1e9
        ops = max(self.limits["bf16" if facts and facts["is_float"] else "int8"][mark[1]:] or [0]) * 1e9
        if not facts or not gb_s or not ops: return None
        if row.metric == "prefill_tok_s":
            # The products of the matrices, or reading them once: of the experts, what the tokens can use at most.
            n_bytes = facts["dense_bytes"] + facts["expert_bytes"] * min(1, work["prefill"] * facts["expert_share"])
            return 1 / max(2 * facts["block_values"] / ops, n_bytes / work["prefill"] / gb_s)
        if row.metric == "batch_decode_tok_s":
            n = work["streams"]
            return n / max(facts["token_bytes"] / gb_s, 2 * facts["token_values"] * n / ops)
        return gb_s / (facts["token_bytes"] + work["depth"] * facts["cache_bytes"])


def select(rows, wanted):
    if wanted == "all": return rows, set(GROUPS)
    groups = set(wanted.replace(" ", "").split(","))
    unknown = groups - set(GROUPS)
    if unknown: sys.exit(f"rows: expected some of {','.join(GROUPS)}, found {','.join(sorted(unknown))}")
    return [r for r in rows if r.group in groups], groups


# ---------------------------------------------------------------- the table
class Table:
    WIDTHS = (52, 13, 13, 13, 8, 9, 9, 24)

    def __init__(self):
        self.n_missed = self.n_met = 0
        self.line("work", LLAMA, IK, OURS, "ratio", "limit", "share", "goal")
        print("-" * (sum(self.WIDTHS) + len(self.WIDTHS)))

    def line(self, *cells):
        print(" ".join(f"{c:<{w}}" if i in (0, 7) else f"{c:>{w}}" for i, (c, w) in enumerate(zip(cells, self.WIDTHS))), flush=True)

    @staticmethod
    def number(value, unit=""):
        if value is None: return "-"
        return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}") + unit

    def row(self, title, got, limit=None, goal_ratio=None, goal_share=None, lower_is_better=False, unit="", goal_value=None, text=None):
        ours, peers = got.get(OURS), [got[e] for e in (LLAMA, IK) if got.get(e)]
        best = (min if lower_is_better else max)(peers) if peers else None
        ratio = None if not ours or not best else best / ours if lower_is_better else ours / best
        share = None if not ours or not limit else limit / ours if lower_is_better else ours / limit
        goals, met = [], []
        for value, goal, name in ((ratio, goal_ratio, "x"), (share, goal_share, "% of limit")):
            if goal is None: continue
            goals.append(f">= {goal:.3g}x" if name == "x" else f">= {goal * 100:.0f} %")
            met.append(None if value is None else value >= goal)
        if goal_value is not None:
            goals.append(("<= " if lower_is_better else ">= ") + self.number(goal_value, unit))
            met.append(None if ours is None else ours <= goal_value if lower_is_better else ours >= goal_value)
        verdict = "" if not met else "?" if None in met else "met" if all(met) else "MISSED"
        self.n_met += verdict == "met"
        self.n_missed += verdict in ("MISSED", "?")
        self.line(title, self.number(got.get(LLAMA), unit), self.number(got.get(IK), unit), self.number(ours, unit), "-" if ratio is None else f"{ratio:.2f}x",
                  self.number(limit, unit), "-" if share is None else f"{share * 100:.0f} %", text or f"{', '.join(goals)} {verdict}")


# ---------------------------------------------------------------- rows of tokens per second
def speed_rows(b, table, rows):
    """Rows that share model and work are measured together; engines take turns."""
    done = {}
    for row in rows:
        key = (row.model, json.dumps(row.work, sort_keys=True))
        if key not in done:
            mark, best = (len(b.limits["gb_s"]), len(b.limits["int8"])), {}
            for _ in range(row.work.get("rounds", b.o.rounds)):
                b.machine()
                for engine in ENGINES:
                    try: said = b.speed(engine, row.model, {k: v for k, v in row.work.items() if k != "rounds"})
                    except Missing as why:
                        b.lack(f"{engine}, {MODELS[row.model]}", why)
                        continue
                    for metric in ("prefill_tok_s", "decode_tok_s", "batch_decode_tok_s"):
                        value = said.get(metric)
                        if not value: continue
                        b.note(f"{row.model} {key[1]}", engine, metric, value)
                        best[engine, metric] = max(best.get((engine, metric), 0), value)
            b.machine()
            done[key] = (mark, best)
        mark, best = done[key]
        got, limit = {e: best.get((e, row.metric)) for e in ENGINES}, b.limit(row, mark)
        if row.is_per_layer:
            ms = lambda rate: rate and 1000 / rate / b.facts[row.model]["layers"]
            got, limit = {e: ms(rate) for e, rate in got.items()}, ms(limit)
        table.row(row.title.format(m=MODELS[row.model]), got, limit, row.ratio, row.share, lower_is_better=row.is_per_layer, unit=" ms" if row.is_per_layer else "")


# ---------------------------------------------------------------- the other rows
def busy_row(b, table):
    """Decode beside one process that keeps a core busy, against the same engine undisturbed."""
    work, quiet, busy, single = dict(prefill=16, decode=64, streams=1, depth=0), {}, {}, None
    for is_busy in (False, True) * 2:
        spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if is_busy else None
        try:
            for engine in ENGINES:
                try: value = b.speed(engine, "smol", work).get("decode_tok_s")
                except Missing as why:
                    b.lack(f"{engine}, busy", why)
                    continue
                into = busy if is_busy else quiet
                if value:
                    into[engine] = max(into.get(engine, 0), value)
                    b.note("busy" if is_busy else "quiet", engine, "decode_tok_s", value)
            if not is_busy:
                try: single = max(single or 0, b.speed(OURS, "smol", work, threads=1).get("decode_tok_s") or 0)
                except Missing: pass
        finally:
            if spinner:
                spinner.send_signal(signal.SIGKILL)
                spinner.wait()
    table.row("SmolLM2 decode beside one busy process", busy, text=" ")
    shares = {e: 100 * busy[e] / quiet[e] for e in ENGINES if busy.get(e) and quiet.get(e)}
    table.row("  the same, % of quiet", shares, goal_value=80)
    if single and busy.get(OURS): table.row(f"  the same, against our own one-thread figure ({single:.0f})", {OURS: 100 * busy[OURS] / single}, goal_value=100)


def start_row(b, table):
    """Process start to first token with the file in the page cache; llama.cpp without its interpreter's own start."""
    got = {}
    for _ in range(5):
        path = b.model("q4km")
        try:
            begin = time.perf_counter()
            run([b.program, "run", "-m", path or "", "-p", "Hi", "-n", "1", "--temp", "0", "-t", str(b.o.threads)])
            got[OURS] = min(got.get(OURS, 1e9), time.perf_counter() - begin)
        except Missing as why: b.lack(f"{OURS}, start", why)
        try: got[LLAMA] = min(got.get(LLAMA, 1e9), json_of(run(b.llama("start", path, b.o.threads)))["start_s"])
        except Missing as why: b.lack(f"{LLAMA}, start", why)
    for engine, value in got.items(): b.note("start", engine, "start_s", value)
    table.row("process start to first token, 0.5B GGUF", got, lower_is_better=True, unit=" s", goal_value=0.25)


def texts(b):
    """name -> path, 5 MB each: English and code from Python's own library, Chinese words from the vocabulary."""
    folder, size = os.path.join(CACHE, "bench"), 5_000_000
    os.makedirs(folder, exist_ok=True)
    paths = {n: os.path.join(folder, f"{n}.txt") for n in ("english", "code", "chinese")}
    if all(os.path.exists(p) and os.path.getsize(p) > size * 0.9 for p in paths.values()): return paths
    import pydoc_data.topics
    library = os.path.dirname(os.__file__)
    code = "".join(open(os.path.join(library, f), encoding="utf-8", errors="ignore").read() for f in sorted(os.listdir(library)) if f.endswith(".py"))
    english = "\n".join(pydoc_data.topics.topics[k] for k in sorted(pydoc_data.topics.topics))
    tokens = read_facts(b.model("q4km"))["tokens"]
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table = {chr(c): c for c in keep}
    table.update({chr(256 + i): c for i, c in enumerate(c for c in range(256) if c not in keep)})
    words = []
    for token in tokens:
        try: word = bytes(table[c] for c in token.decode()).decode()
        except (KeyError, UnicodeDecodeError): continue
        if word and all("\u4e00" <= c <= "\u9fff" for c in word): words.append(word)
    dice = random.Random(1)
    chinese, n = [], 0
    while n < size:      # likelier words come first in a vocabulary
        word = words[int(len(words) * dice.random() ** 3)] + dice.choice(["", "", "", "", "", "", "\uff0c", "\u3002", "\u7684"])
        chinese.append(word)
        n += len(word) * 3
    for name, text in (("english", english), ("code", code), ("chinese", "".join(chinese))):
        data = text.encode()
        data = (data * (size // len(data) + 1))[:size].decode(errors="ignore").encode()
        open(paths[name], "wb").write(data)
    return paths


def tokenize_rows(b, table):
    path = b.model("q4km")
    if not path: return
    for name, file in texts(b).items():
        got = {}
        for engine in (OURS, LLAMA):
            try:
                if engine == LLAMA: got[engine] = json_of(run(b.llama("tokenize", path, file)))["mb_s"]
                else: got[engine] = float(next(l for l in run([os.path.join(b.build, "bench_tokenizer"), path, file]).splitlines() if l.startswith("encode")).split(",")[4])
            except (Missing, StopIteration) as why:
                b.lack(f"{engine}, tokenize", why)
                continue
            b.note(f"tokenize {name}", engine, "mb_s", got[engine])
        table.row(f"tokenizing 5 MB {name}, one thread", got, unit=" MB/s", goal_value=10 if name == "chinese" else 20)


def vocabulary_row(b, table):
    """CPU time of learning 8,192 tokens from the three texts, in documents of 4,000 characters; the peer is HF's tokenizers."""
    got, same = {}, True
    with tempfile.TemporaryDirectory() as folder:
        lines = os.path.join(folder, "texts.jsonl")
        with open(lines, "w", encoding="utf-8") as out:
            for file in texts(b).values():
                text = open(file, encoding="utf-8").read()
                out.writelines(json.dumps({"text": text[i:i + 4000]}) + "\n" for i in range(0, len(text), 4000))
        for _ in range(b.o.rounds):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            run([os.path.join(b.build, "r2lm"), "tokenizer", "train", "--force", "-o", os.path.join(folder, "out"), lines])
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            got[OURS] = min(got.get(OURS, 1e9), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            python = b.peer_python()
            if not python: continue
            said = json_of(run([python, os.path.join(ROOT, "bench", "peer_tokenizer_train.py"), lines, os.path.join(folder, "out", "tokenizer.json")]))
            got[LLAMA], same = min(got.get(LLAMA, 1e9), said["seconds"]), said["same"]
    for engine in got: b.note("vocabulary", engine, "cpu_s", got[engine])
    table.row("learning 8,192 tokens, 15 MB (HF tokenizers)", got, lower_is_better=True, unit=" s", goal_ratio=1)
    if not same: b.lack("vocabulary", "not the peer's")


def memory_rows(b, table):
    """Most memory held at once (VmHWM) while answering 64 tokens after 256; pages of the mapped file count."""
    for key in ("q4km", "smol"):
        path, got = b.model(key), {}
        if not path: continue
        try:
            text, got[OURS] = peak_memory(b.ours(path, prefill=256, decode=64))
            cache = json_of(text).get("cache_bytes", 320 * b.facts[key]["cache_bytes"])
        except Missing as why: b.lack(f"{OURS}, memory", why)
        try: _, got[LLAMA] = peak_memory(b.llama("speed", path, json.dumps(dict(threads=b.o.threads, prefill=256, decode=64))))
        except Missing as why: b.lack(f"{LLAMA}, memory", why)
        try: _, got[IK] = peak_memory(b.ik("llama-bench", "-m", path, "-p", 256, "-n", 64, "-t", b.o.threads, "-r", 1))
        except Missing as why: b.lack(f"{IK}, memory", why)
        for engine in got:
            b.note(f"memory {key}", engine, "peak_bytes", got[engine])
            got[engine] /= 1 << 20
        goal = (b.facts[key]["file_bytes"] + cache) / (1 << 20) + 64 if OURS in got else None
        table.row(f"peak resident memory, {MODELS[key]}", got, lower_is_better=True, unit=" MiB", goal_value=goal)


def prompt8k_rows(b, table):
    """First token of an 8k-token prompt: cold, and with its prefix already in the cache."""
    path, cold, cached = b.model("q4km"), {}, {}
    if not path: return
    try:
        said = json_of(run(b.ours(path, prefill=16, decode=1) + ["--long-prompt", "8192"]))
        cold[OURS], cached[OURS] = said.get("long_prompt_cold_ms"), said.get("long_prompt_cached_ms")
    except Missing as why: b.lack(f"{OURS}, 8k prompt", why)
    try: cold[LLAMA] = 8192 / json_of(run(b.llama("speed", path, json.dumps(dict(threads=b.o.threads, prefill=8192)))))["prefill_tok_s"] * 1000
    except Missing as why: b.lack(f"{LLAMA}, 8k prompt", why)
    try:
        text = run(b.ik("llama-bench", "-m", path, "-p", 8192, "-n", 0, "-t", b.o.threads, "-r", 1, "-o", "json"))
        cold[IK] = 8192 / json.loads(text[text.find("["):])[0]["avg_ts"] * 1000
    except Missing as why: b.lack(f"{IK}, 8k prompt", why)
    table.row("first token of an 8k-token prompt, cold", cold, lower_is_better=True, unit=" ms")
    table.row("first token of an 8k-token prompt, prefix cached", cached, lower_is_better=True, unit=" ms")


def mla32k_rows(b, table):
    """What the attention of one token reads at 32k, and how fast that is: latent rows beside four key/value heads, the rest equal."""
    depth, rates = 32768, {}
    for key in ("mla", "gqa"):
        try: said = b.speed(OURS, key, dict(prefill=16, decode=32, streams=1, depth=depth))
        except Missing as why:
            b.lack(f"{OURS}, {MODELS[key]}", why)
            continue
        rates[key] = said["decode_tok_s"]
        b.note(f"{key} {depth}", OURS, "decode_tok_s", rates[key])
        b.machine()
        facts, gb_s = b.facts[key], b.limits["gb_s"][-1] * 1e9
        n_bytes = facts["token_bytes"] + depth * facts["cache_bytes"]
        table.row(f"decode at 32k of context, 2 layers, {MODELS[key]}", {OURS: rates[key]}, gb_s / n_bytes, text=" ")
        table.row("  cache read per token, MB", {OURS: depth * said["cache_bytes_per_token"] / 1e6}, lower_is_better=True, text=" ")
    if len(rates) == 2: table.row("  latent cache against 16:4 heads, % of its tok/s", {OURS: 100 * rates["mla"] / rates["gqa"]}, text=" ")


def experts_row(b, table):
    """Two blocks of experts at 512 tokens against two dense ones with as many products; routing, copies and sums are in."""
    best = {}
    for _ in range(b.o.rounds):
        for key in ("experts", "dense"):
            try: value = b.speed(OURS, key, dict(prefill=512, decode=0, streams=1, depth=0)).get("prefill_tok_s")
            except Missing as why:
                b.lack(f"{OURS}, {MODELS[key]}", why)
                return
            b.note(f"{key} 512", OURS, "prefill_tok_s", value)
            best[key] = max(best.get(key, 0), value)
    table.row("64 experts, 6 used, 512 tokens, % of one dense product", {OURS: 100 * best["experts"] / best["dense"]}, goal_value=80)


def quantize_rows(b, table):
    """Seconds to quantize the 0.5B model from BF16 to Q4_K_M, both in a memory file system where there is room: no disk is measured.  Perplexity of both files by us."""
    path = b.model("bf16")
    if not path: return
    room = "/dev/shm" if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > 2 << 30 else None
    best, cpu, ppl = {}, {}, {}
    with tempfile.TemporaryDirectory(dir=room) as folder:
        outs = {OURS: os.path.join(folder, "ours.gguf"), LLAMA: os.path.join(folder, "llama.gguf")}
        for _ in range(b.o.rounds):
            for engine in (OURS, LLAMA):
                try:
                    before = os.times()
                    if engine == OURS: said = json_of(run([b.program, "quantize", path, outs[engine], "--type", "Q4_K_M", "--no-measure", "--force", "--json", "-t", str(b.o.threads)]))
                    else: said = json_of(run(b.llama("quantize", path, json.dumps(dict(threads=b.o.threads, type="Q4_K_M", out=outs[engine])))))
                    after = os.times()
                except Missing as why:
                    b.lack(f"{engine}, quantize", why)
                    continue
                used = said.get("cpu_s") or after.children_user + after.children_system - before.children_user - before.children_system
                best[engine], cpu[engine] = min(best.get(engine, 1e9), said["seconds"]), min(cpu.get(engine, 1e9), used)
                b.note("quantize", engine, "seconds", said["seconds"])
                b.note("quantize", engine, "cpu_s", used)
        text = os.path.join(ROOT, "tests", "golden", "perplexity_50k.txt")
        for engine in best:
            try: ppl[engine] = json_of(run([b.program, "ppl", "-m", outs[engine], "-f", text, "--json"]))["perplexity"]
            except Missing as why: b.lack(f"{engine}, perplexity", why)
    table.row("quantizing the 0.5B from BF16 to Q4_K_M", best, lower_is_better=True, unit=" s", goal_ratio=2)
    table.row("  the same, processor time", cpu, lower_is_better=True, unit=" s")
    table.row("  perplexity of the file, measured by r2lm", ppl, lower_is_better=True)


def draft_rows(b, table):
    """Greedy answers with and without drafts, all texts of a kind together: tokens over seconds.  The goal is a multiple of our own plain speed."""
    path, folder, n_new = b.model("q4km"), os.path.join(ROOT, "bench", "prompts"), 256
    if not path: raise Missing("no model")
    for kind, title, goal in (("edit", "prompt lookup, edited code", 1.5), ("prose", "prompt lookup, prose", 0.95)):
        texts, best = sorted(t for t in os.listdir(folder) if t.startswith(kind + "_")), {}
        for _ in range(b.o.rounds):
            for text in texts:
                for drafts in ("off", "16"):
                    said = json_of(run([b.program, "bench", "-m", path, "-t", str(b.o.threads), "-p", "16", "-n", str(n_new), "--streams", "1", "-r", "1",
                                        "-f", os.path.join(folder, text), "--draft", drafts, "--json"]))
                    seconds = said["answer_tokens"] / said["answer_tok_s"]
                    b.note(f"draft {text}", f"{OURS} {drafts}", "answer_tok_s", said["answer_tok_s"])
                    best[drafts, text] = min(best.get((drafts, text), (9e9,)), (seconds, said["answer_tokens"]))
        speed = lambda key: sum(best[key, t][1] for t in texts) / sum(best[key, t][0] for t in texts)
        plain, got = speed("off"), {OURS: speed("16")}
        try:
            said = json_of(run(b.llama("lookup", path, json.dumps(dict(threads=b.o.threads, n_new=n_new, texts=[os.path.join(folder, t) for t in texts])))))
            got[LLAMA] = said["lookup_tok_s"]
            b.note(f"draft {kind}", LLAMA, "plain_tok_s", said["plain_tok_s"])
        except (Missing, KeyError) as why: b.lack(f"{LLAMA}, prompt lookup", why)
        table.row(f"{title} ({goal:g}x our {plain:.0f} without)", got, goal_value=goal * plain, unit=" tok/s")


def structured_rows(b, table):
    """Answers held to a JSON schema beside free ones of the same length; the goal is 95 of 100 of our own free speed."""
    path = b.model("q4km")
    if not path: raise Missing("no model")
    lines = run([os.path.join(b.build, "bench_structured"), path, str(b.o.threads), str(b.o.rounds)]).strip().splitlines()
    for said in csv.DictReader(lines):
        plain = float(said["free_tok_s"])
        for name, title in (("first", "schema new"), ("again", "schema known")):
            value = float(said[name + "_tok_s"])
            b.note(f"structured {said['streams']}", OURS, name + "_tok_s", value)
            table.row(f"JSON schema, {said['streams']} at once, {title} ({plain:.0f} free)", {OURS: value}, goal_value=0.95 * plain, unit=" tok/s")


def sandbox_rows(b, table):
    """Programs run in the sandbox: until one has run, and how many by two threads in a second; goals: 20 ms, 100 a second."""
    for said in csv.DictReader(run([os.path.join(b.build, "bench_sandbox"), str(b.o.threads), "100"]).splitlines()):
        name = f"sandbox of {said['cage']}, {said['program']}"
        if said["failed"] != "0": raise Missing(f"{name}: {said['failed']} of 100 runs failed")
        median, together = float(said["median_ms"]), float(said["runs_s"])
        b.note(name, OURS, "median_ms", median)
        b.note(name, OURS, "runs_s", together)
        table.row(f"{name}, start to end (95 of 100: {float(said['p95_ms']):.1f} ms)", {OURS: median}, lower_is_better=True, unit=" ms", goal_value=20)
        table.row("  at once", {OURS: together}, unit=" runs/s", goal_value=100)


def humaneval_row(b, table):
    """All of HumanEval asked and judged, twice: the better time, and that both gave the same answers; goals: 120 s, 86 right."""
    path, data = b.model("q4km"), os.path.join(b.peers or "", "questions", "HumanEval.jsonl.gz")
    if not path: return
    if not os.path.exists(data): raise Missing("no HumanEval.jsonl.gz, see bench/install_peers.sh")
    seconds, answers = [], set()
    with tempfile.TemporaryDirectory() as folder:
        for i in range(2):
            out = os.path.join(folder, str(i))
            begin = time.monotonic()
            said = json_of(run([b.program, "eval", "humaneval", "--data", data, "-m", path, "-t", str(b.o.threads), "-o", out, "--json"], timeout=1800))
            seconds.append(time.monotonic() - begin)
            with open(os.path.join(out, "samples.jsonl"), "rb") as lines: answers.add(lines.read())
            b.machine()
            b.note("humaneval", OURS, "seconds", seconds[-1])
    right = round(said["pass@1"]["value"] * said["items"])
    table.row(f"HumanEval, {right} of {said['items']} right, {'the same' if len(answers) == 1 else 'OTHER'} answers again", {OURS: min(seconds)}, lower_is_better=True, unit=" s",
              goal_value=120 if right >= 86 and len(answers) == 1 else 0)


def mpi_row(b, table):
    """Two ranks of one thread each; the goal is nine tenths of one process of two threads in the same rounds."""
    one, two, ratios = mpi_rows.measure(b.program, ROOT, b.o.rounds, run, Missing)
    b.note("train, one process of two threads", OURS, "tok_s", one)
    b.note("train, two ranks of one thread", OURS, "tok_s", two)
    table.row(f"train, 30M, two ranks of one thread (one process of two: {one:,.0f}; rounds {', '.join(f'{r:.2f}' for r in ratios)})", {OURS: two}, goal_value=0.9 * one, unit=" tok/s")


def serve_rows(b, table):
    """Chats at once over HTTP: tokens of all together, the wait for the first one, pauses between them; 4 requests for one chat, two per chat for more."""
    folder, generator, logs = os.path.join(ROOT, "bench", "prompts"), os.path.join(b.build, "bench_serve"), os.path.join(CACHE, "bench")
    os.makedirs(logs, exist_ok=True)
    for key in ("q4km", "smol"):
        path, best = b.model(key), {}
        if not path: continue
        commands = {OURS: [b.program, "serve", "-m", path, "-t", str(b.o.threads)]}
        for engine, place in ((LLAMA, "llama"), (IK, "ik")):
            program = b.peers and os.path.join(b.peers, place, "bin", "llama-server")
            if program and os.path.exists(program):   # flash attention of ik_llama.cpp asserts on batches of several slots
                commands[engine] = [program, "-m", path, "-t", str(b.o.threads), "-np", "32", "-c", "32768", *["-fa", "off"] * (engine == IK)]
            else: b.lack(f"{engine}, llama-server", "not built, see bench/install_peers.sh")
        for _ in range(min(b.o.rounds, 2)):
            for engine, command in commands.items():
                b.machine()
                try:
                    with peer_servers.Server(command, os.path.join(logs, f"serve-{engine}.log")) as server:
                        peer_servers.measure(generator, server, folder, 2, 2, 90000)
                        for chats in (1, 8, 32):
                            for metric, value in peer_servers.measure(generator, server, folder, chats, max(4, 2 * chats), 1000 * chats).items():
                                b.note(f"serve {key} {chats}", engine, metric, value)
                                of = best.setdefault((chats, metric), {})
                                of[engine] = (max if metric == "tok_s" else min)(value, of.get(engine, value))
                except (OSError, ValueError, subprocess.SubprocessError) as why: b.lack(f"{engine}, serving {MODELS[key]}", why)
        for chats in (1, 8, 32):
            goal = {8: 3, 32: 4}.get(chats)
            table.row(f"serve, {chats} chats, tokens/s, {MODELS[key]}", best.get((chats, "tok_s"), {}), goal_ratio=goal)
            for metric, title in (("first_p50_ms", "first token, half of them"), ("first_p95_ms", "first token, 95 of 100"), ("pause_p50_ms", "pause, half of them"), ("pause_p95_ms", "pause, 95 of 100")):
                table.row(f"  {title}", best.get((chats, metric), {}), lower_is_better=True, unit=" ms", goal_ratio=1 / 0.6 if metric.startswith("first") else None)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", default=os.path.join(ROOT, "build"))
    ap.add_argument("--rows", default="all", help="some of " + ",".join(GROUPS))
    ap.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--train", help="of the rows of training, these: gemm,step30m,...")
    ap.add_argument("--csv")
    ap.add_argument("--no-peers", action="store_true")
    o = ap.parse_args()
    rows, groups = select(make_rows(), o.rows)
    b = Bench(o)
    trained = {"train", "lora", "grpo"}  # beside PyTorch
    b.find_peers(["engines"] * bool(set(groups) - trained - {"mpi", "sandbox", "humaneval"}) + ["servers"] * ("serve" in groups) + ["torch"] * bool(trained & set(groups)) + ["questions"] * ("humaneval" in groups))
    try: run(["cmake", "--build", b.build, "--target", "bench_programs"])
    except Missing as why: b.lack("bench programs", why)
    if not os.path.exists(b.program): b.lack(OURS, f"no {b.program}")

    name = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown processor")
    print(f"{name}, {os.cpu_count()} cores, {o.threads} threads, best of {o.rounds} rounds, {time.strftime('%Y-%m-%d %H:%M')}, load before {os.getloadavg()[0]:.1f}\n")
    table = Table()
    speed_rows(b, table, rows)
    for group, measure in (("busy", busy_row), ("start", start_row), ("tokenize", tokenize_rows), ("vocabulary", vocabulary_row), ("memory", memory_rows),
                           ("prompt8k", prompt8k_rows), ("quantize", quantize_rows),
                           ("mla32k", mla32k_rows), ("experts", experts_row), ("draft", draft_rows),
                           ("structured", structured_rows), ("sandbox", sandbox_rows), ("humaneval", humaneval_row), ("serve", serve_rows), ("mpi", mpi_row), ("train", lambda b, table: train_rows.measure(b, table, run, json_of, Missing)),
                           ("lora", lambda b, table: train_rows.measure_lora(b, table, run, json_of, Missing)),
                           ("grpo", lambda b, table: grpo_rows.measure(b, table, run, json_of, Missing, peak_memory))):
        if group not in groups: continue
        try: measure(b, table)
        except (Missing, KeyError, TypeError, ValueError) as why: b.lack(f"row {group}", why)

    if not b.limits["gb_s"]: b.machine()
    print()
    for name, unit in (("gb_s", "GB/s read"), ("int8", "GOPS int8"), ("bf16", "GFLOPS BF16")):
        if b.limits[name]: print(f"machine, beside the rows: {min(b.limits[name]):.0f} to {max(b.limits[name]):.0f} {unit}, median {statistics.median(b.limits[name]):.0f}")
    print(f"goals: {table.n_met} met, {table.n_missed} missed or unknown")
    for what, why in b.missing.items(): print(f"missing: {what}: {why}")
    path = o.csv or os.path.join(b.build, "bench.csv")
    with open(path, "w", newline="") as file: csv.writer(file).writerows([["time", "row", "engine", "metric", "value", "gb_s_beside"]] + b.samples)
    print(f"samples: {path}")


if __name__ == "__main__":
    main()
