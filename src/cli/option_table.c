#include "cli/option_table.h"

#include <stdio.h>
#include <string.h>

enum {
    OPENS_MODEL = R2I_FOR_RUN | R2I_FOR_CHAT | R2I_FOR_SHOW | R2I_FOR_TOKENIZE | R2I_FOR_PPL |
                  R2I_FOR_BENCH | R2I_FOR_QUANTIZE | R2I_FOR_SERVE,
    COMPUTES =
        R2I_FOR_RUN | R2I_FOR_CHAT | R2I_FOR_PPL | R2I_FOR_BENCH | R2I_FOR_QUANTIZE | R2I_FOR_SERVE,
    TALKS = R2I_FOR_RUN | R2I_FOR_CHAT,
    SAMPLES = TALKS | R2I_FOR_SERVE, /* a request's own values are stronger */
    FINDS = OPENS_MODEL | R2I_FOR_PLAN | R2I_FOR_CONVERT | R2I_FOR_VERIFY | R2I_FOR_LIST |
            R2I_FOR_DOCTOR,
    READS = R2I_FOR_RUN | R2I_FOR_TOKENIZE | R2I_FOR_PPL
};

#define AT(field) offsetof(r2i_options, field)
#define LEVELS "ref|portable|avx2|avx512|amx"

/* name, alias, letter, kind, offset, default, low, high, choices, value, help, commands, common, no env */
const r2i_option r2i_option_table[] = {
    { "model", NULL, 'm', R2I_OPTION_TEXT, AT(model), NULL, 0, 0, NULL, "MODEL",
      "a GGUF file, a Hugging Face folder, or a name as `r2lm list` shows it",
      OPENS_MODEL | R2I_FOR_PLAN | R2I_FOR_VERIFY | R2I_FOR_DOCTOR, true, false },
    { "models", NULL, 0, R2I_OPTION_TEXT, AT(models), NULL, 0, 0, NULL, "DIR",
      "look for models in this folder first", FINDS, false, false },
    { "prompt", NULL, 'p', R2I_OPTION_TEXT, AT(prompt), NULL, 0, 0, NULL, "TEXT",
      "the question or text; standard input is left alone then", R2I_FOR_RUN | R2I_FOR_TOKENIZE,
      true, false },
    { "file", NULL, 'f', R2I_OPTION_TEXT, AT(file), NULL, 0, 0, NULL, "FILE",
      "read the text from FILE (- is standard input); follows -p if both are given", READS, true,
      false },
    { "file", NULL, 'f', R2I_OPTION_TEXT, AT(file), NULL, 0, 0, NULL, "FILE",
      "also the speed of answering FILE's text; with --draft N, how many guesses were right",
      R2I_FOR_BENCH, false, false },
    { "system", "system-prompt", 's', R2I_OPTION_TEXT, AT(system), NULL, 0, 0, NULL, "TEXT",
      "the system message", TALKS, true, false },
    { "host", NULL, 0, R2I_OPTION_TEXT, AT(host), "localhost", 0, 0, NULL, "ADDRESS",
      "listen here; localhost is 127.0.0.1 and ::1, any other address needs an API key", R2I_FOR_SERVE, true, false },
    { "port", NULL, 0, R2I_OPTION_COUNT, AT(port), "8080", 0, 65535, NULL, "N",
      "listen on this port; 0: on a free one, which is printed", R2I_FOR_SERVE, true, false },
    { "socket", NULL, 0, R2I_OPTION_TEXT, AT(socket), NULL, 0, 0, NULL, "PATH",
      "listen at this UNIX socket instead, which only you may use", R2I_FOR_SERVE, true, false },
    { "tls-cert", NULL, 0, R2I_OPTION_TEXT, AT(tls_cert), NULL, 0, 0, NULL, "FILE",
      "speak HTTPS with this certificate, and those that vouch for it behind it (PEM)",
      R2I_FOR_SERVE, false, false },
    { "tls-key", NULL, 0, R2I_OPTION_TEXT, AT(tls_key), NULL, 0, 0, NULL, "FILE",
      "the certificate's key (PEM); in the same file otherwise", R2I_FOR_SERVE, false, false },
    { "api-key", NULL, 0, R2I_OPTION_LIST, AT(api_keys), NULL, 0, 0, NULL, "KEY",
      "ask for this key; may be given again.  Shells remember flags: --api-key-file is safer",
      R2I_FOR_SERVE, true, false },
    { "api-key-file", NULL, 0, R2I_OPTION_TEXT, AT(api_key_file), NULL, 0, 0, NULL, "FILE",
      "ask for one of the keys in FILE, one per line", R2I_FOR_SERVE, true, false },
    { "allow-host", NULL, 0, R2I_OPTION_LIST, AT(allowed_hosts), NULL, 0, 0, NULL, "NAME",
      "another name of this server in Host headers; may be given again", R2I_FOR_SERVE, false,
      false },
    { "allow-origin", NULL, 0, R2I_OPTION_LIST, AT(allowed_origins), NULL, 0, 0, NULL, "ORIGIN",
      "let this web page use the server, such as https://chat.example; may be given again",
      R2I_FOR_SERVE, false, false },
    { "parallel", NULL, 0, R2I_OPTION_COUNT, AT(parallel), "32", 1, 2048, NULL, "N",
      "requests answered at once; they share the cache", R2I_FOR_SERVE, true, false },
    { "queue", NULL, 0, R2I_OPTION_COUNT, AT(queue), "64", 0, 1 << 16, NULL, "N",
      "requests that may wait beside them; more are told to come back (429)", R2I_FOR_SERVE, false,
      false },
    { "cache-ram", NULL, 0, R2I_OPTION_COUNT, AT(cache_mb), "0", 0, 1 << 24, NULL, "MIB",
      "memory for what requests have read and written, and for prefixes they leave; 0: four full "
      "contexts, at most a quarter of the machine's",
      R2I_FOR_SERVE, true, false },
    { "drain", NULL, 0, R2I_OPTION_COUNT, AT(drain_s), "30", 0, 86400, NULL, "SECONDS",
      "time to finish what runs after SIGTERM", R2I_FOR_SERVE, false, false },
    { "timeout", NULL, 0, R2I_OPTION_COUNT, AT(timeout_s), "0", 0, 1 << 20, NULL, "SECONDS",
      "most time of a request, waiting included; 0: any", R2I_FOR_SERVE, false, false },
    { "max-body", NULL, 0, R2I_OPTION_COUNT, AT(body_mb), "16", 1, 1024, NULL, "MIB",
      "most of a request's body", R2I_FOR_SERVE, false, false },
    { "load", NULL, 0, R2I_OPTION_TEXT, AT(load), NULL, 0, 0, NULL, "FILE",
      "begin with a conversation kept by /save", R2I_FOR_CHAT, false, false },
    { "predict", "n-predict", 'n', R2I_OPTION_COUNT, AT(predict), "0", 0, 1 << 24, NULL, "N",
      "most tokens to generate; 0: until the model ends or the context is full", SAMPLES, true,
      false },
    { "ctx-size", "ctx", 'c', R2I_OPTION_COUNT, AT(ctx_size), "0", 0, 1 << 24, NULL, "N",
      "most tokens of prompt and answer; 0: as the model was made, at most 32768", SAMPLES, true,
      false },
    { "ctx-size", "ctx", 'c', R2I_OPTION_COUNT, AT(ctx_size), "512", 8, 1 << 20, NULL, "N",
      "tokens of a window, of which the second half is scored", R2I_FOR_PPL, true, false },
    { "ctx-size", "ctx", 'c', R2I_OPTION_COUNT, AT(ctx_size), "0", 0, 1 << 24, NULL, "N",
      "tokens of context to plan for; 0: as the model was made, at most 32768", R2I_FOR_PLAN, true,
      false },
    { "type", NULL, 0, R2I_OPTION_TEXT, AT(type), NULL, 0, 0, NULL, "TYPE",
      "plan for weights stored so, such as Q4_K_M, Q8_0 or BF16; as they are otherwise",
      R2I_FOR_PLAN, true, false },
    { "type", NULL, 0, R2I_OPTION_CHOICE, AT(type), "keep", 0, 0, "keep|f32|f16|bf16", "TYPE",
      "element type of the matrices; keep: as they are, FP8 and quantized ones as BF16",
      R2I_FOR_CONVERT, true, false },
    { "force", NULL, 0, R2I_OPTION_SWITCH, AT(is_forced), "0", 0, 0, NULL, NULL,
      "replace OUTPUT if it exists", R2I_FOR_CONVERT | R2I_FOR_QUANTIZE, true, true },
    { "mtp", NULL, 0, R2I_OPTION_SWITCH, AT(keeps_mtp), "1", 0, 0, NULL, NULL,
      "keep multi-token prediction modules", R2I_FOR_CONVERT, true, false },
    { "shard-size", NULL, 0, R2I_OPTION_REAL, AT(shard_size), "5", 0.000001, 1e6, NULL, "GB",
      "most of a file of safetensors", R2I_FOR_CONVERT, true, false },
    { "checksums", NULL, 0, R2I_OPTION_SWITCH, AT(has_checksums), "1", 0, 0, NULL, NULL,
      "compute the SHA-256 of every file and compare it with what is known", R2I_FOR_VERIFY, true,
      false },
    { "type", NULL, 0, R2I_OPTION_TEXT, AT(type), "Q4_K_M", 0, 0, NULL, "TYPE",
      "Q4_K_M Q4_K_S Q5_K_M Q5_K_S Q6_K Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 IQ4_NL IQ4_XS MXFP4 MXFP4_MOE F16 "
      "BF16 or F32",
      R2I_FOR_QUANTIZE, true, false },
    { "role", NULL, 0, R2I_OPTION_LIST, AT(roles), NULL, 0, 0, NULL, "ROLE=TYPE",
      "another type for a role: embedding output q k v o gate up down expert_gate ... or "
      "attention, ffn, experts, shared; may be given again",
      R2I_FOR_QUANTIZE, true, false },
    { "imatrix-text", NULL, 0, R2I_OPTION_TEXT, AT(imatrix_text), NULL, 0, 0, NULL, "FILE",
      "let the model read FILE first and weigh errors by what its columns are multiplied with",
      R2I_FOR_QUANTIZE, true, false },
    { "imatrix", NULL, 0, R2I_OPTION_TEXT, AT(imatrix), NULL, 0, 0, NULL, "FILE",
      "importance from a GGUF file of --imatrix-out or of llama.cpp", R2I_FOR_QUANTIZE, false,
      false },
    { "imatrix-out", NULL, 0, R2I_OPTION_TEXT, AT(imatrix_out), NULL, 0, 0, NULL, "FILE",
      "keep what --imatrix-text found", R2I_FOR_QUANTIZE, false, true },
    { "text", NULL, 0, R2I_OPTION_TEXT, AT(text), NULL, 0, 0, NULL, "FILE",
      "measure with this text; a short one is built in", R2I_FOR_QUANTIZE, true, false },
    { "measure", NULL, 0, R2I_OPTION_SWITCH, AT(measures), "1", 0, 0, NULL, NULL,
      "compare perplexity and distributions with the source afterwards", R2I_FOR_QUANTIZE, true,
      false },
    { "cache-type", NULL, 0, R2I_OPTION_CHOICE, AT(cache_type), "bf16", 0, 0, "bf16|f16|q8", "TYPE",
      "what attention's cache is stored as; q8 takes half of the memory",
      COMPUTES & ~R2I_FOR_QUANTIZE, true, false },
    { "cache-type", NULL, 0, R2I_OPTION_CHOICE, AT(cache_type), "bf16", 0, 0, "bf16|f16|q8|f32",
      "TYPE", "what attention's cache is stored as", R2I_FOR_PLAN, true, false },
    { "memory", NULL, 0, R2I_OPTION_REAL, AT(memory), "0", 0, 1e6, NULL, "GB",
      "memory to fit into; 0: what is available here now", R2I_FOR_PLAN, true, false },
    { "measure", NULL, 0, R2I_OPTION_SWITCH, AT(measures), "1", 0, 0, NULL, NULL,
      "measure for half a second how fast this machine reads and multiplies", R2I_FOR_PLAN, true,
      false },
    { "threads", NULL, 't', R2I_OPTION_COUNT, AT(threads), "0", 0, 256, NULL, "N",
      "threads; 0: one per processor",
      COMPUTES | R2I_FOR_PLAN | R2I_FOR_CONVERT | R2I_FOR_VERIFY | R2I_FOR_DOCTOR, true, false },
    { "temp", "temperature", 0, R2I_OPTION_REAL, AT(temp), "0.7", 0, 100, NULL, "X",
      "temperature; 0: always the likeliest token", SAMPLES, true, false },
    { "top-k", NULL, 0, R2I_OPTION_COUNT, AT(top_k), "0", 0, 1 << 24, NULL, "N",
      "draw from the N likeliest tokens; 0: from all", SAMPLES, false, false },
    { "top-p", NULL, 0, R2I_OPTION_REAL, AT(top_p), "0.95", 0, 1, NULL, "X",
      "draw from the likeliest tokens that make up this probability; 0 or 1: from all", SAMPLES,
      false, false },
    { "min-p", NULL, 0, R2I_OPTION_REAL, AT(min_p), "0.05", 0, 1, NULL, "X",
      "drop tokens below this share of the likeliest one's probability", SAMPLES, false, false },
    { "seed", NULL, 0, R2I_OPTION_SEED, AT(seed), "-1", -1, 9007199254740991.0, NULL, "N",
      "same seed, same answer; -1: another one every time", SAMPLES, true, false },
    { "repeat-penalty", "repetition-penalty", 0, R2I_OPTION_REAL, AT(repeat_penalty), "1", 0, 10,
      NULL, "X", "make tokens seen before less likely; 0 or 1: off", SAMPLES, false, false },
    { "repeat-last-n", NULL, 0, R2I_OPTION_COUNT, AT(repeat_last_n), "64", 0, 1 << 24, NULL, "N",
      "tokens that --repeat-penalty looks back; 0: 64", SAMPLES, false, false },
    { "presence-penalty", NULL, 0, R2I_OPTION_REAL, AT(presence_penalty), "0", -10, 10, NULL, "X",
      "subtracted once from tokens generated before", SAMPLES, false, false },
    { "frequency-penalty", NULL, 0, R2I_OPTION_REAL, AT(frequency_penalty), "0", -10, 10, NULL, "X",
      "subtracted from tokens generated before, each time", SAMPLES, false, false },
    { "draft", NULL, 0, R2I_OPTION_COUNT, AT(draft), "16", 0, 32, "off", "N",
      "guess up to N tokens ahead where the text repeats itself; faster, the same answer", SAMPLES,
      false, false },
    { "draft", NULL, 0, R2I_OPTION_COUNT, AT(draft), "0", 0, 32, "off", "N",
      "guess up to N tokens ahead where the text repeats itself", R2I_FOR_BENCH, false, false },
    { "think", NULL, 0, R2I_OPTION_LEVEL, AT(think), "1", 0, 0, "low|high|max", NULL,
      "let a model think that can: =low 1024 tokens at most, =high 8192, =max no limit", SAMPLES,
      true, false },
    { "budget", "think-budget", 0, R2I_OPTION_COUNT, AT(budget), "0", 0, 1 << 24, NULL, "N",
      "most thinking tokens, exact; 0: as --think says", SAMPLES, true, false },
    { "reasoning-field", NULL, 0, R2I_OPTION_CHOICE, AT(reasoning_field), "reasoning_content", 0, 0,
      "reasoning_content|reasoning|both|none", "NAME", "what replies call thoughts", R2I_FOR_SERVE,
      false, false },
    { "hide-thinking", NULL, 0, R2I_OPTION_TRISTATE, AT(hides_thinking), "-1", 0, 0, NULL, NULL,
      "do not show thoughts (on standard error; by default on a terminal only)", TALKS, true,
      false },
    { "unfold", NULL, 0, R2I_OPTION_SWITCH, AT(unfolds), "0", 0, 0, NULL, NULL,
      "leave thoughts on the screen instead of folding them to one line", R2I_FOR_CHAT, false,
      false },
    { "raw", NULL, 0, R2I_OPTION_SWITCH, AT(is_raw), "0", 0, 0, NULL, NULL,
      "go on with the text as it is, without the chat template", R2I_FOR_RUN, true, false },
    { "ignore-eos", NULL, 0, R2I_OPTION_SWITCH, AT(ignores_end), "0", 0, 0, NULL, NULL,
      "go on behind the model's end of text; needs -n", R2I_FOR_RUN, false, false },
    { "special", NULL, 0, R2I_OPTION_SWITCH, AT(has_special), "0", 0, 0, NULL, NULL,
      "read control tokens such as <|im_start|> written in the text", R2I_FOR_TOKENIZE, true,
      false },
    { "prompt-tokens", "n-prompt", 'p', R2I_OPTION_COUNT, AT(prompt_tokens), "256", 1, 1 << 20,
      NULL, "N", "tokens of the prompt", R2I_FOR_BENCH, true, false },
    { "predict", "n-gen", 'n', R2I_OPTION_COUNT, AT(predict), "64", 1, 1 << 20, NULL, "N",
      "tokens to generate", R2I_FOR_BENCH, true, false },
    { "streams", NULL, 0, R2I_OPTION_COUNT, AT(streams), "32", 1, 2048, NULL, "N",
      "sequences generated together", R2I_FOR_BENCH, true, false },
    { "streams", NULL, 0, R2I_OPTION_COUNT, AT(streams), "1", 1, 2048, NULL, "N",
      "sequences at once", R2I_FOR_PLAN, true, false },
    { "depth", NULL, 'd', R2I_OPTION_COUNT, AT(depth), "0", 0, 1 << 20, NULL, "N",
      "tokens of context before the generated ones", R2I_FOR_BENCH, true, false },
    { "long-prompt", NULL, 0, R2I_OPTION_COUNT, AT(long_prompt), "0", 0, 1 << 20, NULL, "N",
      "also the time to the first token of a prompt of N tokens, cold and cached", R2I_FOR_BENCH,
      true, false },
    { "repeat", NULL, 'r', R2I_OPTION_COUNT, AT(repeat), "3", 1, 1000, NULL, "N",
      "measure each figure N times, the best counts", R2I_FOR_BENCH, true, false },
    { "lora", NULL, 0, R2I_OPTION_TEXT, AT(lora), NULL, 0, 0, NULL, "PATH[:SCALE]",
      "use a LoRA adapter: a PEFT folder or a GGUF file, times SCALE", COMPUTES & ~R2I_FOR_QUANTIZE,
      true, false },
    { "grammar-file", NULL, 0, R2I_OPTION_TEXT, AT(grammar_file), NULL, 0, 0, NULL, "FILE",
      "the answer follows the GBNF grammar in FILE; thoughts are free", R2I_FOR_RUN, true, false },
    { "json-schema", NULL, 0, R2I_OPTION_TEXT, AT(json_schema), NULL, 0, 0, NULL, "FILE|JSON",
      "the answer is JSON that validates; {} for any JSON", R2I_FOR_RUN, true, false },
    { "regex", NULL, 0, R2I_OPTION_TEXT, AT(regex), NULL, 0, 0, NULL, "PATTERN",
      "the whole answer matches a regular expression", R2I_FOR_RUN, true, false },
    { "cpu", NULL, 0, R2I_OPTION_CHOICE, AT(cpu), NULL, 0, 0, LEVELS, "LEVEL",
      "highest kernel level to use; the best the machine has otherwise",
      OPENS_MODEL & ~R2I_FOR_TOKENIZE, false, false },
    { "latent", NULL, 0, R2I_OPTION_CHOICE, AT(latent), "exact", 0, 0, "exact|fast", "KIND",
      "fast: DeepSeek's attention expands long prompts, which costs less and rounds otherwise",
      COMPUTES, false, false },
    { "arithmetic", NULL, 0, R2I_OPTION_CHOICE, AT(arithmetic), "fast", 0, 0, "fast|f32", "KIND",
      "fast: int8 and BF16 products; f32: dequantized, slow, for comparison", COMPUTES, false,
      false },
    { "pack", NULL, 0, R2I_OPTION_SWITCH, AT(is_packed), "1", 0, 0, NULL, NULL,
      "arrange weights for the processor; --no-pack needs less memory and is slower", COMPUTES,
      false, false },
    { "timings", NULL, 0, R2I_OPTION_SWITCH, AT(shows_timings), "0", 0, 0, NULL, NULL,
      "print tokens per second to standard error", TALKS, true, false },
    { "local", NULL, 0, R2I_OPTION_SWITCH, AT(is_local), "0", 0, 0, NULL, NULL,
      "write ./r2lm.ini instead of the user's file", R2I_FOR_CONFIG, true, true },
    { "system", NULL, 0, R2I_OPTION_SWITCH, AT(is_system), "0", 0, 0, NULL, NULL,
      "write the system's file instead", R2I_FOR_CONFIG, true, true },
    { "man", NULL, 0, R2I_OPTION_SWITCH, AT(wants_man), "0", 0, 0, NULL, NULL, "write the man page",
      R2I_FOR_HELP, true, true },
    { "json", NULL, 0, R2I_OPTION_SWITCH, AT(wants_json), "0", 0, 0, NULL, NULL,
      "print one JSON object", R2I_FOR_ALL, true, false },
    { "jsonl", NULL, 0, R2I_OPTION_SWITCH, AT(wants_jsonl), "0", 0, 0, NULL, NULL,
      "print a JSON object per event while the answer comes", R2I_FOR_RUN, true, false },
    { "color", "colour", 0, R2I_OPTION_CHOICE, AT(color), "auto", 0, 0, "auto|always|never", "WHEN",
      "colours on the terminal", R2I_FOR_ALL, false, false },
    { "verbose", NULL, 'v', R2I_OPTION_SWITCH, AT(is_verbose), "0", 0, 0, NULL, NULL,
      "say more on standard error", R2I_FOR_ALL, false, false },
    { "quiet", NULL, 'q', R2I_OPTION_SWITCH, AT(is_quiet), "0", 0, 0, NULL, NULL,
      "say nothing but errors on standard error", R2I_FOR_ALL, false, false },
    { "help", NULL, 'h', R2I_OPTION_SWITCH, AT(wants_help), "0", 0, 0, NULL, NULL,
      "show the command's help", R2I_FOR_ALL, false, true },
};
const size_t r2i_n_options = sizeof r2i_option_table / sizeof *r2i_option_table;

static bool is_name(const char *name, const char *text, size_t n_bytes) {
    return name != NULL && strlen(name) == n_bytes && memcmp(name, text, n_bytes) == 0;
}

const r2i_option *r2i_option_find(unsigned command, const char *name, size_t n_bytes) {
    for (size_t i = 0; i < r2i_n_options; i++) {
        const r2i_option *o = &r2i_option_table[i];
        if ((o->commands & command) == 0) continue;
        if (is_name(o->name, name, n_bytes) || is_name(o->alias, name, n_bytes)) return o;
    }
    return NULL;
}

const r2i_option *r2i_option_find_letter(unsigned command, char letter) {
    for (size_t i = 0; i < r2i_n_options; i++) {
        const r2i_option *o = &r2i_option_table[i];
        if (letter != 0 && (o->commands & command) != 0 && o->letter == letter) return o;
    }
    return NULL;
}

void r2i_option_env_name(const char *name, char *out, size_t cap) {
    (void)snprintf(out, cap, "R2LM_%s", name);
    for (char *c = out; *c != '\0'; c++) {
        if (*c == '-')
            *c = '_';
        else if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
    }
}
