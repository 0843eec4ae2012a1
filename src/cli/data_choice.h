/* data_choice.h - texts and chats made into data as the flags say, for `data prep` and `train sft`. */
#ifndef R2I_DATA_CHOICE_H
#define R2I_DATA_CHOICE_H
#include "cli/program.h"
#include "r2lm/train.h"

/* r2_data_prepare with the flags' options, progress on the terminal and signals caught. */
R2_CHECKED r2_status r2i_data_from_inputs(r2_data_result *result, r2i_program *program,
                                          const r2_model *model, const char *const *inputs,
                                          int32_t n_inputs, const char *out, r2_error *err);

typedef struct {
    const char **folders; /* [n_folders] of prepared data, in the program's arena */
    int32_t n_folders;
    const char *made; /* the one of them that was made here, or NULL */
    const char *place,
        *aside; /* what it replaces: its name, and its other one until it is settled; or NULL */
    r2_data_split train; /* of all folders together */
    bool is_made;        /* set by the caller: RUN/data is there, another process has made it */
} r2i_data_choice;

/* Folders of `r2lm data prep` are taken as they are; all else among `words` is prepared with `model`'s tokenizer
 * and chat template into the folder RUN/data. */
R2_CHECKED r2_status r2i_data_choose(r2i_data_choice *out, r2i_program *program, const char *model,
                                     const char *run, const char *const *words, int32_t n_words,
                                     r2_error *err);
/* Are all of `words` folders of `r2lm data prep`? */
bool r2i_data_all_prepared(const char *const *words, int32_t n_words);
/* Removes what was made, and what it replaced is back. */
void r2i_data_withdraw(const r2i_data_choice *choice);
/* Removes what was replaced. */
void r2i_data_settle(const r2i_data_choice *choice);
#endif
