/* grammar_choice.h - the grammar that the flags ask for: --grammar-file, --json-schema or --regex. */
#ifndef R2I_GRAMMAR_CHOICE_H
#define R2I_GRAMMAR_CHOICE_H
#include "cli/session.h"

typedef struct {
    r2_grammar *grammar; /* NULL: none asked for */
    r2_grammar_matcher *matcher;
} r2i_grammar_choice;

/* Compiles it for the session's model.  R2_E_ARGUMENT: more than one. */
R2_CHECKED r2_status r2i_grammar_choose(r2i_grammar_choice *out, r2i_session *session,
                                        r2_error *err);
/* Puts it into the options of a sequence. */
void r2i_grammar_use(const r2i_grammar_choice *choice, r2_sequence_options *options);
void r2i_grammar_drop(r2i_grammar_choice *choice);
#endif
