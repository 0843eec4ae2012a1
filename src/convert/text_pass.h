/* text_pass.h - a model over windows of text, each on its own: hidden rows of every position, logits
 * of some. */
#ifndef R2I_TEXT_PASS_H
#define R2I_TEXT_PASS_H
#include "model/model.h"

typedef struct r2i_text_pass r2i_text_pass;

enum { R2I_PASS_LOGITS = 16 }; /* rows of logits at once */

/* For windows of at most n_window tokens.  The model is borrowed; n_threads 0: one per processor.
 * R2_E_RANGE, R2_E_NOMEM. */
R2_CHECKED r2_status r2i_text_pass_create(r2i_text_pass **out, r2_model *model, int32_t n_window,
                                          int32_t n_threads, r2_error *err);
/* NULL is allowed. */
void r2i_text_pass_destroy(r2i_text_pass *pass);
/* r2i_forward_set_observer for this pass. */
void r2i_text_pass_observe(r2i_text_pass *pass, r2i_observe observe, void *user);
/* Runs positions 0..n-1 of a new window.  R2_E_IO: the model's file has become shorter. */
R2_CHECKED r2_status r2i_text_pass_run(r2i_text_pass *pass, const r2_token *tokens, int32_t n,
                                       r2_error *err);
/* Logits [n, n_vocab] of positions [first, first + n), n <= R2I_PASS_LOGITS; valid until the next call. */
float *r2i_text_pass_logits(r2i_text_pass *pass, int32_t first, int32_t n);
#endif
