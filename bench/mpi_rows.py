"""Two ranks of one thread beside one process of two threads: `r2lm train` on the 30M Llama shape, the same model and batches of a step."""
import json, os, shutil, tempfile

ENVIRONMENT = dict(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_hwloc_base_binding_policy="none")
SHAPE = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=8192, hidden_act="silu", rms_norm_eps=1e-5, rope_theta=10000.0, max_position_embeddings=512,
             tie_word_embeddings=False, hidden_size=512, intermediate_size=1408, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=8, head_dim=64)
STEP = ["--batch-tokens", "2048", "--run-tokens", "256", "--accumulate", "2", "--steps", "4", "--warmup", "0", "-q", "--force"]


def prepare(program, root, run):
    """Model and data in the folder at hand: the tree's own documents, with the toy's tokenizer."""
    run([program, "convert", os.path.join(root, "tests", "e2e", "toy.gguf"), "seed", "--force"])
    for name in os.listdir("seed"):
        if name.endswith(".safetensors"): os.remove(f"seed/{name}")
    with open("seed/config.json", "w") as out: json.dump(SHAPE, out)
    run([program, "train", "init", "seed", "-o", "start"])
    run([program, "data", "prep", os.path.join(root, "docs"), os.path.join(root, "src"), "-m", "start", "-o", "data"])


def tokens_per_second(run, command, folder):
    run([*command, "train", "pretrain", "data", "-m", "start", "-o", folder, *STEP], env=dict(os.environ, **ENVIRONMENT))
    with open(f"{folder}/metrics.jsonl") as lines: return max(json.loads(l)["tok_s"] for l in list(lines)[1:])


def measure(program, root, rounds, run, missing):
    """Best tok/s of both, in turns: (one process of two threads, two ranks of one)."""
    if not shutil.which("mpirun") or not os.path.exists(os.path.join(os.path.dirname(program), "libr2lm_mpi.so")): raise missing("no mpirun, or built without MPI")
    here, one, two = os.getcwd(), [], []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            prepare(program, root, run)
            for _ in range(rounds):
                one.append(tokens_per_second(lambda c, env: run([*c, "-t", "2"], env=env), [program], "one"))
                two.append(tokens_per_second(lambda c, env: run([*c, "-t", "1"], env=env), ["mpirun", "-n", "2", program], "two"))
        finally:
            os.chdir(here)
    return max(one), max(two), [b / a for a, b in zip(one, two)]
