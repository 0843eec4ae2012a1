#!/usr/bin/env python3
"""Steps of GRPO by TRL, as its users would run it on a processor: an adapter of all linear layers by PEFT, the base in BF16, no vLLM; JSON out.

  peer_grpo.py '{"model": FOLDER, "questions": 8, "answers": 8, "new_tokens": 120, "rank": 8, "threads": 2, "steps": 2}'

FOLDER has the model's weights (safetensors) and tokenizer; with "config" the weights are random, of that configuration's shape: a step takes as long.  Every
answer is written to its full length, as ours are in this row, whatever ends the weights come up with."""
import contextlib, json, os, resource, sys, tempfile, time
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import long_answers


def steps(o):
    import datasets, peft, transformers, trl
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    tokenizer = transformers.AutoTokenizer.from_pretrained(o["model"])
    if tokenizer.pad_token is None: tokenizer.pad_token = tokenizer.eos_token
    if "config" in o:
        config = transformers.AutoConfig.from_pretrained(o["config"])
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    else:
        model = transformers.AutoModelForCausalLM.from_pretrained(o["model"], dtype=torch.bfloat16)
    n, n_answers = o["questions"], o["answers"]
    rows = [dict(prompt=[dict(role="user", content=long_answers.question(1, i))]) for i in range(n * (o["steps"] + 1))]
    lengths = []

    def reward(completions, completion_ids, **_):
        lengths.extend(len(ids) for ids in completion_ids)
        return [long_answers.reward(c[0]["content"]) for c in completions]

    with tempfile.TemporaryDirectory() as folder:
        how = trl.GRPOConfig(output_dir=folder, use_cpu=True, bf16=True, per_device_train_batch_size=o.get("batch", n * n_answers), num_generations=n_answers,
                             gradient_accumulation_steps=n * n_answers // o.get("batch", n * n_answers),
                             max_completion_length=o["new_tokens"], generation_kwargs=dict(min_new_tokens=o["new_tokens"]), max_steps=o["steps"] + 1, beta=0.0,
                             learning_rate=1e-5, temperature=1.0, loss_type="dr_grpo", scale_rewards="none", logging_steps=1, save_strategy="no", report_to=[],
                             disable_tqdm=True, dataloader_num_workers=0, seed=1)
        adapter = peft.LoraConfig(task_type="CAUSAL_LM", r=o["rank"], lora_alpha=2 * o["rank"], target_modules="all-linear")
        ends = []

        class Clock(transformers.TrainerCallback):
            def on_step_begin(self, *_a, **_k): ends.append(time.perf_counter())
            def on_step_end(self, *_a, **_k): ends.append(time.perf_counter())

        trainer = trl.GRPOTrainer(model=model, reward_funcs=[reward], args=how, train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer,
                                  peft_config=adapter, callbacks=[Clock()])
        begin = time.perf_counter()
        trainer.train()
        # A step's answers are written before its first on_step_begin in some versions: from end to end, the first step apart.
        marks = [begin] + ends[1::2]
    seconds = [b - a for a, b in zip(marks, marks[1:])]
    return dict(seconds=min(seconds[1:] or seconds), all_seconds=seconds, mean_length=sum(lengths) / max(len(lengths), 1), answers=len(lengths))


def main():
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    torch.manual_seed(1)
    with contextlib.redirect_stdout(sys.stderr): said = steps(options)      # the trainer prints its numbers
    said["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(said))


if __name__ == "__main__":
    main()
