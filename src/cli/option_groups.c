#include "cli/option_groups.h"

#include <string.h>

#define FROM_DATA "pretrain sft distill"
#define RUNS FROM_DATA " grpo dpo"

/* clang-format off */
const r2i_option_group r2i_option_group_table[] = {
    { R2I_FOR_TRAIN, "init " RUNS " export", "what is written", "output force" },
    { R2I_FOR_TRAIN, "init " RUNS, "random numbers", "seed" },
    { R2I_FOR_TRAIN, "init", "our own architecture", "depth tokenizer" },
    { R2I_FOR_TRAIN, RUNS " export", "the model", "model models type cpu threads" },
    { R2I_FOR_TRAIN, "export", "which checkpoint", "step" },
    { R2I_FOR_TRAIN, RUNS, "how long (one of these)", "steps tokens epochs minutes" },
    { R2I_FOR_TRAIN, "grpo", "questions and answers",
      "tasks verifier verifier-timeout languages level questions answers rounds" },
    { R2I_FOR_TRAIN, "grpo", "what is learnt from them",
      "parts replay ratio clip-low clip-high loss-norm deviation kl kl-limit overlong "
      "language-weight sft-share patience" },
    { R2I_FOR_TRAIN, "dpo", "pairs", "step-pairs" },
    { R2I_FOR_TRAIN, RUNS, "batches", "batch-tokens run-tokens recompute" },
    { R2I_FOR_TRAIN, FROM_DATA, "more of them", "accumulate" },
    { R2I_FOR_TRAIN, RUNS, "optimizer",
      "optimizer lr schedule warmup beta2 weight-decay clip arithmetic" },
    { R2I_FOR_TRAIN, RUNS, "adapters", "lora-rank lora-alpha lora-targets" },
    { R2I_FOR_TRAIN, RUNS, "checkpoints", "checkpoint-every keep-last resume" },
    { R2I_FOR_TRAIN, FROM_DATA, "validation", "validate-every validate-batches" },
    { R2I_FOR_TRAIN, RUNS, "experts and the prediction module",
      "balance balance-rate mtp-weight mtp-from expert-parallel" },
    { R2I_FOR_TRAIN, RUNS, "flags from files, forecasts, the list of runs",
      "config set data dry-run price currency memory register" },
    { R2I_FOR_TRAIN, "sft distill", "texts and chats that become data on the way",
      "validation held-out mark licence keep-copies learn-all" },
    { R2I_FOR_TRAIN, "distill", "the teacher",
      "teacher teacher-tokens teacher-share teacher-temp" },
    { R2I_FOR_TRAIN, "distill dpo", "the loss", "beta" },
    { R2I_FOR_TRAIN, "distill grpo", "answers", "own-temp parallel predict think budget" },
    { R2I_FOR_TRAIN, "distill", "own answers of the model, and answers of the teacher (--traces)",
      "own-share prompt-part traces samples check keep-cut temp top-k top-p min-p" },
};
/* clang-format on */
const size_t r2i_n_option_groups = sizeof r2i_option_group_table / sizeof *r2i_option_group_table;

static bool has_word(const char *words, const char *word) {
    const size_t n = strlen(word);
    for (const char *at = words; *at != '\0'; at += *at == ' ') {
        const size_t width = strcspn(at, " ");
        if (width == n && memcmp(at, word, n) == 0) return true;
        at += width;
    }
    return false;
}

bool r2i_option_group_is_for(const r2i_option_group *group, unsigned command,
                             const char *subcommand) {
    return group->command == command &&
           (subcommand == NULL || has_word(group->subcommands, subcommand));
}

const r2i_option_group *r2i_option_group_find(unsigned command, const r2i_option *option) {
    for (size_t i = 0; i < r2i_n_option_groups; i++) {
        const r2i_option_group *g = &r2i_option_group_table[i];
        if (g->command == command && has_word(g->flags, option->name)) return g;
    }
    return NULL;
}

bool r2i_option_groups_know(unsigned command, const char *subcommand) {
    for (size_t i = 0; i < r2i_n_option_groups; i++) {
        if (r2i_option_group_is_for(&r2i_option_group_table[i], command, subcommand)) return true;
    }
    return false;
}
