/* command_table.c - every command, once; the order is that of the help. */
#include "cli/program.h"

const r2i_command r2i_command_table[] = {
    { "run", NULL, "[MODEL] [PROMPT]", "answer one question", R2I_FOR_RUN, r2i_run_command,
      "Prints the answer alone on standard output; thoughts, timings and progress go to standard "
      "error.\n"
      "With -m or -p the text comes from there; without them the first word is the model, the "
      "others are the\n"
      "prompt.  Piped text becomes the prompt or follows PROMPT; with -p standard input is left "
      "alone, and\n"
      "`-f -` adds it.  The model's chat template is used unless --raw is given or there is "
      "none." },
    { "chat", NULL, "[MODEL]", "talk with a model", R2I_FOR_CHAT, r2i_chat_command,
      "Commands in the conversation: /help /think [N] /nothink /read FILE /system [TEXT] /save "
      "FILE /load FILE\n"
      "/regen /edit [TEXT] /list /undo /ctx /stats /clear /lora PATH[:SCALE]|off /exit.  A line of "
      "three\n"
      "quotation marks begins and ends text of several lines.  Ctrl-C stops the answer, twice ends "
      "the program;\n"
      "Ctrl-T ends the thoughts, Ctrl-D the conversation.  Standard input may be a file." },
    { "serve", NULL, "[MODEL]", "answer many clients over HTTP, as OpenAI's API does",
      R2I_FOR_SERVE, r2i_serve_command,
      "POST /v1/chat/completions, /v1/completions (stream or not), /tokenize, /detokenize, "
      "/apply-template; GET\n"
      "/v1/models, /health, /metrics, /version, /props, /slots; all with and without /v1.  What a "
      "request does not\n"
      "say comes from the flags.  SIGTERM finishes what runs and ends with 0; a second one ends at "
      "once.  With -v "
      "a line per request:\n"
      "path, status, time and numbers of tokens, never texts.  Nothing connects outward." },
    { "list", "ls", "", "show the models on this machine", R2I_FOR_LIST, r2i_list_command,
      "Looks into --models, the cache of r2lm and those of Hugging Face, ollama and llama.cpp; "
      "opens nothing." },
    { "show", NULL, "[MODEL]", "show what a model or an adapter is", R2I_FOR_SHOW, r2i_show_command,
      "Of a model: architecture, parameters, types, context, chat template, memory.  Of a LoRA "
      "adapter: the\n"
      "family it was made for, its rank, the matrices it changes." },
    { "tokenize", NULL, "[MODEL]", "turn text into tokens", R2I_FOR_TOKENIZE, r2i_tokenize_command,
      "The text comes from -p, -f or standard input; token numbers are printed on one line." },
    { "ppl", "perplexity", "[MODEL]", "perplexity of a text", R2I_FOR_PPL, r2i_ppl_command,
      "Windows of --ctx-size tokens, each on its own; the second half of each is scored.  What is "
      "left over at\n"
      "the end is not used." },
    { "bench", NULL, "[MODEL]", "measure tokens per second", R2I_FOR_BENCH, r2i_bench_command,
      "Here -p and -n are numbers of tokens.  Each figure is the best of --repeat; read_gb_s is a "
      "plain reader's\n"
      "rate on this machine with as many threads, before and after." },
    { "plan", NULL, "[MODEL|CONFIG]", "say what a model needs and how fast it can be", R2I_FOR_PLAN,
      r2i_plan_command,
      "MODEL is a GGUF file, a Hugging Face folder with or without weights, or a config.json.  "
      "Speeds are upper\n"
      "bounds: bytes to be read or products to be formed per token, over the rates measured on "
      "this "
      "machine." },
    { "convert", NULL, "INPUT OUTPUT", "turn a Hugging Face folder into a GGUF file, or back",
      R2I_FOR_CONVERT, r2i_convert_command,
      "INPUT is a folder with config.json and safetensors, or a GGUF file (the first shard of "
      "several); OUTPUT\n"
      "becomes the other of the two.  Tokenizer and chat template go along.  OUTPUT appears when "
      "it is complete." },
    { "quantize", NULL, "MODEL OUTPUT", "store a model in smaller types", R2I_FOR_QUANTIZE,
      r2i_quantize_command,
      "MODEL is a GGUF file or a Hugging Face folder, best of F32, F16 or BF16; OUTPUT another, "
      "which appears when it is "
      "complete.\n"
      "Norms and routers stay as they are.  Afterwards both models read a text: perplexity, mean "
      "KL "
      "divergence\n"
      "from the source, how often the likeliest token is the same.  --no-measure leaves that "
      "out." },
    { "verify", NULL, "[MODEL]", "check a model's files", R2I_FOR_VERIFY, r2i_verify_command,
      "Opens the model as the engine does, looks for values that are no numbers in every tensor, "
      "and compares\n"
      "checksums with FILE.sha256, SHA256SUMS or what a download cache recorded.  Exit code 3: "
      "something is wrong." },
    { "data", NULL, "prep|show|...", "turn texts and chats into data for training",
      R2I_FOR_DATA, r2i_data_command,
      "`data prep INPUT... -o DIR` reads text files, or JSONL with a text, messages, or a question "
      "and its answer\n"
      "per line: files, all that folders hold but hidden files, or standard input (-).  Copies, "
      "near "
      "copies and\n"
      "what evaluation sets hold are left out; chats teach the assistant's turns only.  -m gives "
      "the "
      "tokenizer,\n"
      "which must be that of the model to train: a model, or a folder with tokenizer.json.  DIR "
      "holds shards of\n"
      "tokens with checksums, manifest.json and a data card; it appears when it is complete.  "
      "`data "
      "show DIR`\n"
      "reads and checks it; `data batches DIR...` prints what a run would read, a line of JSON per "
      "batch: tokens,\n"
      "targets (-1: not learnt) and the lengths of what attends to itself alone.  `data traces "
      "PROMPTS... -m TEACHER\n"
      "-o FILE` lets a model answer prompts (JSONL) and writes chats to learn from; called again it "
      "goes on where\n"
      "it ended." },
    { "runs", NULL, "list|show|...", "which training runs there were", R2I_FOR_RUNS,
      r2i_runs_command,
      "All runs of `r2lm train` of this user, the newest first; `runs show RUN` tells all of one, its "
      "flags too;\n"
      "`runs rm RUN` forgets one and leaves its files.  `runs samples RUN` shows what `train grpo` asked, "
      "what was\n"
      "answered and what that was worth, also while it goes on.  RUN is a number of the list or a "
      "folder.  A run whose\n"
      "process is gone without having said how it ended is shown as crashed.  --no-register keeps a run "
      "out." },
    { "plot", NULL, "RUN...", "show how training went, several runs side by side", R2I_FOR_PLOT,
      r2i_plot_command,
      "RUN is the folder of a run or a metrics.jsonl: an object of numbers with \"step\" on each "
      "line.  With\n"
      "-o FILE.svg a picture, one panel per metric and one colour per run; otherwise a sparkline "
      "per metric,\n"
      "with --json its first, last, lowest and highest value." },
    { "tokenizer", NULL, "train INPUT...", "learn a vocabulary from texts", R2I_FOR_TOKENIZER,
      r2i_tokenizer_command,
      "`tokenizer train INPUT... -o DIR`.  Byte pair encoding over bytes; digits stand alone, "
      "words are cut as GPT-2 cuts them, "
      "nothing "
      "is\n"
      "normalized.  INPUT: files, folders or standard input (-), as `r2lm data prep` reads them.  "
      "DIR gets\n"
      "tokenizer.json and tokenizer_config.json, which Hugging Face's libraries read, and `r2lm "
      "tokenize -m DIR`.\n"
      "The same texts give the same files." },
    { "train", NULL, "init|pretrain|...", "make a model, teach it texts and chats",
      R2I_FOR_TRAIN, r2i_train_command,
      "`train init FOLDER -o OUT` writes a model folder with random weights: FOLDER holds config.json "
      "and the\ntokenizer's files, or --depth makes the configuration.\n"
      "`train pretrain DATA... -m FOLDER -o RUN` trains on folders of `r2lm data prep` and writes "
      "RUN/model,\na folder that every command opens, and RUN/metrics.jsonl, a line per step.\n"
      "`train sft DATA... -m MODEL -o RUN` goes on with a trained model: DATA may also be JSONL of "
      "chats (or of\nquestions and answers), which are prepared into RUN/data first; what the "
      "assistant says is learnt.\n"
      "`train distill DATA... -m MODEL --teacher MODEL -o RUN` learns what a teacher would say at "
      "each place.\n"
      "`train grpo --tasks LIST -m MODEL -o RUN` learns from its own answers, which are judged; `train dpo "
      "PAIRS...\n-m MODEL -o RUN` from pairs of a better and a worse one (JSONL).\n"
      "`train export RUN -o OUT` makes a model of a checkpoint.\n"
      "Ctrl-C ends a run with the step at work and saves; `train KIND --resume -o RUN` goes on.  "
      "Exit code 7:\nloss or gradient became no number.  `r2lm help train sft` shows the flags of sft "
      "alone, and so on." },
    { "tasks", NULL, "list|make|grade", "questions without end, with checked answers",
      R2I_FOR_TASKS, r2i_tasks_command,
      "`tasks` lists what there is.  `tasks make NAME...|all -o FILE` writes items as chats, a line of "
      "JSON each, with\n"
      "thoughts and answer: `r2lm data prep` and `r2lm train sft` read them.  `tasks grade FILE` judges "
      "answers: lines\n"
      "with \"task\", \"expected\" and \"text\" (or \"messages\"); -v says what was wrong.  Programs in "
      "answers run in the\n"
      "sandbox; exit code 77: there is none here.  --verifier COMMAND asks and judges with a program "
      "of yours that\n"
      "speaks lines of JSON (docs/tasks.md)." },
    { "eval", NULL, "list|SUITE|...", "measure what a model can do", R2I_FOR_EVAL, r2i_eval_command,
      "`eval list` shows the suites and where their data comes from; `eval SUITE --data PATH -m MODEL` "
      "asks all\n"
      "of one, many answers at once, and prints the share of right ones with its 95 % interval.  With -o "
      "DIR every\n"
      "answer is kept in DIR/samples.jsonl, the numbers in DIR/summary.json; a run that was interrupted "
      "goes on.\n"
      "`eval compare A B` holds two runs against each other, item by item (McNemar's exact test).\n"
      "The numbers depend on model, data and settings alone, not on --parallel or --threads.  Programs "
      "that a model\n"
      "writes run in the sandbox; exit code 77: there is none here and nothing has run; 8: the score is "
      "below\n--min-score." },
    { "exec", "sandbox", "-- PROGRAM ...", "run a program that nobody trusts", R2I_FOR_EXEC,
      r2i_exec_command,
      "The program runs without network, sees /usr and the like to read and one folder to write, "
      "and "
      "ends with all\n"
      "that it started.  Its output comes when it has ended; exit code: its own, 124 time is up, "
      "137 "
      "another limit,\n"
      "127 no such program, 77 no sandbox can be made here and nothing has run.  `r2lm sandbox "
      "--check` looks.\n"
      "--json: one object, in it the program's own exit_code (128 + the signal that ended it), U+FFFD for "
      "bytes\n"
      "that are no UTF-8." },
    { "config", NULL, "list|get|set|unset", "keep flags in a file", R2I_FOR_CONFIG,
      r2i_config_command,
      "list; get FLAG; set FLAG VALUE; unset FLAG.  FLAG is the long name of a flag, for all "
      "commands, or "
      "COMMAND.FLAG.\nRead are, the stronger "
      "first:\n"
      "./r2lm.ini, $XDG_CONFIG_HOME/r2lm/config.ini (~/.config/...), /etc/r2lm/config.ini.  A line "
      "is "
      "FLAG = VALUE;\n"
      "behind a line [COMMAND] it counts for that command alone.  Variables and flags are "
      "stronger." },
    { "doctor", NULL, "", "say whether this machine is ready", R2I_FOR_DOCTOR, r2i_doctor_command,
      "Reads only: processor, memory, bandwidth, models." },
    { "version", NULL, "", "print the version", R2I_FOR_VERSION, r2i_version_command, NULL },
    { "help", NULL, "[COMMAND]", "show a command's man page; --man writes it", R2I_FOR_HELP,
      r2i_help_command, NULL },
    { "completion", NULL, "bash|zsh|fish", "write completions for a shell", R2I_FOR_COMPLETION,
      r2i_completion_command, NULL },
    { "licenses", NULL, "", "show licences", R2I_FOR_LICENSES, r2i_licenses_command, NULL },
};
const size_t r2i_n_commands = sizeof r2i_command_table / sizeof *r2i_command_table;
