/* option_table.h - every flag of every command, once.
 *
 * Parsing, environment variables, --help, the man page and the completions are all read from this
 * table, so they cannot disagree.  A value comes from the flag, else from R2LM_<FLAG>, else from a
 * file (settings.h), else from the row's default. */
#ifndef R2I_OPTION_TABLE_H
#define R2I_OPTION_TABLE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How much a model may think. */
typedef enum {
    R2I_EFFORT_OFF,
    R2I_EFFORT_MODEL, /* as it does by itself */
    R2I_EFFORT_LOW,
    R2I_EFFORT_HIGH,
    R2I_EFFORT_MAX
} r2i_effort;

/* One bit per command: where a flag applies. */
enum {
    R2I_FOR_RUN = 1 << 0,
    R2I_FOR_CHAT = 1 << 1,
    R2I_FOR_LIST = 1 << 2,
    R2I_FOR_SHOW = 1 << 3,
    R2I_FOR_TOKENIZE = 1 << 4,
    R2I_FOR_PPL = 1 << 5,
    R2I_FOR_BENCH = 1 << 6,
    R2I_FOR_DOCTOR = 1 << 7,
    R2I_FOR_VERSION = 1 << 8,
    R2I_FOR_HELP = 1 << 9,
    R2I_FOR_COMPLETION = 1 << 10,
    R2I_FOR_LICENSES = 1 << 11,
    R2I_FOR_PLAN = 1 << 12,
    R2I_FOR_CONFIG = 1 << 13,
    R2I_FOR_CONVERT = 1 << 14,
    R2I_FOR_VERIFY = 1 << 15,
    R2I_FOR_QUANTIZE = 1 << 16,
    R2I_FOR_SERVE = 1 << 17,
    R2I_FOR_DATA = 1 << 18,
    R2I_FOR_PLOT = 1 << 19,
    R2I_FOR_TOKENIZER = 1 << 20,
    R2I_FOR_TRAIN = 1 << 21,
    R2I_FOR_EXEC = 1 << 22,
    R2I_FOR_RUNS = 1 << 23,
    R2I_FOR_EVAL = 1 << 24,
    R2I_FOR_TASKS = 1 << 25,
    R2I_FOR_ALL = (1 << 26) - 1,
    /* Those that use no settings: a broken file of settings must not stop them. */
    R2I_FOR_READERS = R2I_FOR_HELP | R2I_FOR_VERSION | R2I_FOR_COMPLETION | R2I_FOR_LICENSES
};

/* A flag that may be given several times; the environment's value comes first. */
enum { R2I_LIST_TEXTS = 64 };
typedef struct {
    const char *texts[R2I_LIST_TEXTS];
    int32_t n;
} r2i_text_list;

/* The values.  Field names follow the long options. */
typedef struct {
    const char *model, *models, *prompt, *file, *system, *cpu, *arithmetic, *latent, *color, *load;
    const char *type, *cache_type, *text, *imatrix, *imatrix_text, *imatrix_out, *lora;
    const char *grammar_file, *json_schema, *regex;
    const char *host, *socket, *tls_cert, *tls_key, *api_key_file;
    r2i_text_list roles, api_keys, allowed_hosts, allowed_origins;
    const char *reasoning_field;
    int32_t port, parallel, queue, drain_s, timeout_s, verifier_s, body_mb, cache_mb;
    const char *output, *mark, *licence;
    r2i_text_list held_out, metrics, specials;
    int32_t vocab_size, reserve, min_count;
    int32_t ctx_size, predict, threads, top_k, budget, repeat_last_n;
    int32_t draft, prompt_tokens, streams, depth, repeat, long_prompt;
    double memory, shard_size; /* GB */
    double validation;         /* share of the documents */
    const char *split;
    int32_t batches;
    const char *config, *currency;
    r2i_text_list sets, data;
    double tokens, epochs, minutes, price;
    bool is_dry, is_registered;
    const char *schedule, *optimizer, *tokenizer, *teacher;
    int32_t teacher_tokens;
    double teacher_share, teacher_temp, beta, own_share, own_temp;
    int32_t samples, prompt_part;
    const char *check;
    bool has_traces, keeps_cut;
    /* grpo, dpo */
    const char *tasks, *languages, *ratio, *loss_norm;
    int32_t level, questions, answers, rounds, parts, patience, step_pairs;
    double clip_low, clip_high, kl, kl_limit, overlong, language_weight, sft_share;
    bool divides_by_deviation, replays_experts;
    int32_t steps, batch_tokens, run_tokens, accumulate, warmup, validate_every, validate_batches;
    double lr, beta2, weight_decay, clip, mtp_weight, mtp_from, balance, balance_rate;
    int32_t lora_rank;
    double lora_alpha;
    const char *lora_targets;
    int32_t limit, judges; /* eval */
    bool is_lenient;
    double min_score;
    const char *template;
    bool reads_on;
    const char *verifier; /* tasks */
    int32_t count;
    bool has_trace;
    const char *shown_steps, *task; /* runs samples */
    bool shows_right, shows_wrong;
    const char *work; /* exec */
    r2i_text_list variables, readable;
    double wall_s, cpu_s, memory_mib, disk_mib, output_mib;
    int32_t processes;
    bool checks, uses_landlock;
    bool recomputes, divides_experts, is_resuming;
    int32_t checkpoint_every, keep_last, step;
    double temp, top_p, min_p, repeat_penalty, presence_penalty, frequency_penalty;
    int64_t seed; /* -1: another one every time */
    bool is_packed, is_raw, shows_timings, is_verbose, is_quiet, wants_json, wants_jsonl;
    bool wants_help, wants_man, has_special, ignores_end, unfolds, measures;
    bool is_local, is_system;
    bool is_forced, keeps_mtp, has_checksums, keeps_copies, learns_all;
    int32_t hides_thinking; /* -1: shown on a terminal */
    int32_t think;          /* r2i_effort */
} r2i_options;

typedef enum {
    R2I_OPTION_SWITCH,   /* bool; --name and --no-name */
    R2I_OPTION_TRISTATE, /* int32_t -1, 0, 1; --name and --no-name */
    R2I_OPTION_LEVEL,    /* int32_t: 0 --no-name, 1 --name, 2.. --name=CHOICE in their order */
    R2I_OPTION_TEXT,     /* const char * */
    R2I_OPTION_LIST,     /* r2i_text_list: each time one more */
    R2I_OPTION_CHOICE,   /* const char *, one of `choices` */
    R2I_OPTION_COUNT,    /* int32_t within low..high */
    R2I_OPTION_SEED,     /* int64_t within low..high */
    R2I_OPTION_REAL      /* double within low..high */
} r2i_option_kind;

typedef struct {
    const char *name;  /* long name without dashes */
    const char *alias; /* a second long name, or NULL */
    char letter;       /* short name, or 0 */
    r2i_option_kind kind;
    size_t offset;          /* of the field in r2i_options */
    const char *fallback;   /* default in text, or NULL: empty */
    double low, high;       /* range of numbers */
    const char *choices;    /* "a|b|c"; of a number: words for 0 */
    const char *value_name; /* "FILE" in the help, NULL for switches */
    const char *help;
    unsigned commands; /* R2I_FOR_* */
    bool is_common;    /* shown in the short help */
    bool has_no_env;   /* nor a setting in files, which may be others': what says where to write */
} r2i_option;

extern const r2i_option r2i_option_table[];
extern const size_t r2i_n_options;
#endif
