#!/usr/bin/env python3
"""Holds a run of `r2lm train pretrain` against PyTorch: same initial weights, same batches, same optimizer, F32.

  compare_training.py START RUN DATA [--steps 100] [-o FOLDER] [--program build/r2lm]

START is the folder the run began with, RUN what it wrote, DATA what it read.  transformers loads START; `r2lm data batches`
gives the run's own batches; learning rates come from RUN/metrics.jsonl.  Runs of a batch do not attend to each other: each
is a row, filled up behind its end, which causal attention does not see and the loss and the experts' counts leave out.
Prints both losses and their largest difference; with -o, FOLDER/metrics.jsonl for `r2lm plot RUN FOLDER`.
--perturb 1e-7 changes PyTorch's initial weights by as much: how far it then parts from itself is what no program can keep to.
--saved alone loads RUN/model instead and measures the validation documents: the loss the run ended with.

Flags of the run that PyTorch must know: --optimizer --batch-tokens --run-tokens --seed --weight-decay --clip --balance
--balance-rate.  Needs: torch, transformers >= 5.
"""
import argparse, json, os, subprocess, time
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch, transformers
import torch.nn.functional as F
from transformers import AutoConfig, AutoModelForCausalLM
transformers.logging.set_verbosity_error(); transformers.logging.disable_progress_bar()


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("start"); p.add_argument("run"); p.add_argument("data", nargs="+")
    p.add_argument("--program", default="build/r2lm"); p.add_argument("-o", "--output"); p.add_argument("--steps", type=int, default=100)
    p.add_argument("--optimizer", default="adamw", choices=("adamw", "muon")); p.add_argument("--seed", type=int, default=1)
    p.add_argument("--batch-tokens", type=int, default=4096); p.add_argument("--run-tokens", type=int, default=512)
    p.add_argument("--weight-decay", type=float, default=0.1); p.add_argument("--clip", type=float, default=1.0)
    p.add_argument("--balance", type=float, default=1e-4); p.add_argument("--balance-rate", type=float, default=1e-3)
    p.add_argument("--threads", type=int, default=0); p.add_argument("--saved", action="store_true")
    p.add_argument("--perturb", type=float, default=0.0)
    return p.parse_args()


def load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    return model.train()


def batches(o, *flags):
    """What the run read, a batch at a time."""
    command = [o.program, "data", "batches", *o.data, "--batch-tokens", str(o.batch_tokens), "--run-tokens", str(o.run_tokens), "--seed", str(o.seed), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as p:
        for line in p.stdout: yield json.loads(line)
    if p.returncode != 0: raise SystemExit(f"{' '.join(command)}: exit code {p.returncode}")


def rows_of(batch):
    """[runs, longest] tokens and targets, -100 where nothing is learnt; which places are filled."""
    lengths = batch["lengths"]
    tokens, targets = (torch.split(torch.tensor(batch[k]), lengths) for k in ("tokens", "targets"))
    pad = lambda rows, value: torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)
    targets = pad(targets, -1)
    return pad(tokens, 0), torch.where(targets < 0, -100, targets), pad([torch.ones(n, dtype=torch.bool) for n in lengths], False)


class Routers:
    """What the routers chose: for the biases that balance experts, and for the balance loss."""
    def __init__(self, model):
        self.gates = [m for m in model.modules() if hasattr(m, "e_score_correction_bias")]
        self.seen = []
        for g in self.gates: g.register_forward_hook(lambda gate, _, out: self.seen.append((gate, out[0], out[2])))

    def balance_loss(self, filled):
        """DeepSeek-V3's, summed over the tokens of each run: rows * sum_e f_e P_e."""
        total = torch.zeros(())
        for gate, logits, chosen in self.seen:
            n = gate.num_experts
            s = logits.sigmoid().view(*filled.shape, n) * filled.unsqueeze(-1)
            share = s / s.sum(-1, keepdim=True).clamp_min(1e-20)
            hits = F.one_hot(chosen, n).sum(-2).view(*filled.shape, n) * filled.unsqueeze(-1)
            f = hits.sum(1) * n / (gate.top_k * filled.sum(1, keepdim=True))
            total = total + (f.detach().float().unsqueeze(1) * share).sum()
        return total

    def step(self, filled, rate):
        for gate, _, chosen in self.seen:
            counts = F.one_hot(chosen, gate.num_experts).sum(-2).view(*filled.shape, -1)[filled].sum(0).double()
            gate.e_score_correction_bias.add_((rate * torch.sign(counts.mean() - counts)).float())
        self.seen = []


def matrices(name, t):
    """Each expert's matrices by themselves, gate and up apart: transformers keeps them in one tensor."""
    if name.endswith("experts.gate_up_proj"):
        half = t.shape[1] // 2
        return [m for e in t for m in (e[:half], e[half:])]
    return list(t) if name.endswith("experts.down_proj") else [t]


def orthogonal(u):
    x = u if u.shape[0] <= u.shape[1] else u.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x if u.shape[0] <= u.shape[1] else x.T


class Optimizer:
    """AdamW, matrices decayed; with Muon for hidden matrices."""
    def __init__(self, model, o):
        named = [(k, p) for k, p in model.named_parameters() if p.requires_grad]
        is_hidden = lambda k, p: o.optimizer == "muon" and p.dim() > 1 and not k.endswith((".gate.weight", "embed_tokens.weight", "lm_head.weight"))
        self.hidden, self.o = [(k, p, torch.zeros_like(p)) for k, p in named if is_hidden(k, p)], o
        rest = [p for k, p in named if not is_hidden(k, p)]
        self.adamw = torch.optim.AdamW([dict(params=[p for p in rest if p.dim() > 1], weight_decay=o.weight_decay),
                                        dict(params=[p for p in rest if p.dim() == 1], weight_decay=0.0)], betas=(0.9, 0.95), eps=1e-8)

    @torch.no_grad()
    def step(self, lr):
        for g in self.adamw.param_groups: g["lr"] = lr
        self.adamw.step()
        for k, p, m in self.hidden:
            m.lerp_(p.grad, 0.05)
            for w, u in zip(matrices(k, p), matrices(k, p.grad.lerp(m, 0.95))):
                w.mul_(1 - lr * self.o.weight_decay).sub_(orthogonal(u), alpha=lr * 0.2 * max(u.shape) ** 0.5)


def loss_of(model, tokens, targets):
    logits = model(input_ids=tokens, use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-100, reduction="sum")


def measure_saved(o, ours):
    model, loss, n = load(f"{o.run}/model").eval(), 0.0, 0
    with torch.no_grad():
        for batch in batches(o, "--split", "validation"):
            tokens, targets, _ = rows_of(batch)
            loss += loss_of(model, tokens, targets).item(); n += int((targets >= 0).sum())
    said = [l["validation_loss"] for l in ours if "validation_loss" in l][-1]
    print(f"validation loss of {o.run}/model: r2lm {said:.5f}, transformers {loss / n:.5f}, difference {abs(said - loss / n):.1e}")


def main():
    o = options()
    if o.threads: torch.set_num_threads(o.threads)
    ours = [json.loads(l) for l in open(f"{o.run}/metrics.jsonl")]
    if o.saved: return measure_saved(o, ours)
    model = load(o.start)
    torch.manual_seed(o.seed)
    with torch.no_grad():
        for w in model.parameters(): w.mul_(1 + o.perturb * torch.randn_like(w))
    routers, optimizer = Routers(model), Optimizer(model, o)
    out, worst, n_tokens, start = None, 0.0, 0, time.time()
    if o.output:
        os.makedirs(o.output, exist_ok=True); out = open(f"{o.output}/metrics.jsonl", "w")
    for line, batch in zip(ours[:o.steps], batches(o, "--batches", str(min(o.steps, len(ours))))):
        begin = time.time()
        tokens, targets, filled = rows_of(batch)
        n = int((targets >= 0).sum())
        model.zero_grad()
        loss = loss_of(model, tokens, targets) / n
        (loss + o.balance * routers.balance_loss(filled) / n).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), o.clip).item()
        optimizer.step(line["lr"])
        routers.step(filled, o.balance_rate)
        n_tokens += len(batch["tokens"])
        worst = max(worst, abs(loss.item() - line["loss"]))
        if line["step"] % 10 == 0 or line["step"] == 1:
            print(f"step {line['step']:4}  r2lm {line['loss']:.4f}  PyTorch {loss.item():.4f}  gradient {line['gradient_norm']:.3f} {norm:.3f}", flush=True)
        if out:
            out.write(json.dumps(dict(step=line["step"], tokens=n_tokens, loss=loss.item(), gradient_norm=norm, lr=line["lr"],
                                      tok_s=len(batch["tokens"]) / (time.time() - begin), seconds_all=time.time() - start)) + "\n"); out.flush()
    print(f"{min(o.steps, len(ours))} steps: largest difference of the loss {worst:.4f}")


if __name__ == "__main__": main()
