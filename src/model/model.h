/* model.h - an open model: file, configuration, weights, tokenizer, chat template. */
#ifndef R2I_MODEL_H
#define R2I_MODEL_H
#include <pthread.h>
#include <stdatomic.h>

#include "files/gguf.h"
#include "files/model_folder.h"
#include "model/forward.h"
#include "model/weights.h"
#include "r2lm/text.h"
#include "text/chat_template.h"
#include "text/token_tree.h"
#include "text/tool_syntax.h"
#include "text/tokenizer.h"

enum { R2I_WEIGHT_TYPES_BYTES = 160, R2I_MODEL_NAME_BYTES = 128 };

struct r2_model {
    r2i_heap heap;
    r2_host host;
    r2i_arena arena; /* everything that lives as long as the model */
    r2i_cpu cpu;
    r2i_kernels kernels;
    bool is_f32, is_expanding; /* R2_ARITHMETIC_F32, R2_LATENT_FAST */
    bool is_text_only;         /* no configuration (but n_vocab), no weights */
    r2i_gguf *gguf;            /* one of the two is open */
    r2i_model_folder folder;
    bool has_folder;
    r2i_config config;
    r2i_weights weights;
    uint8_t *panel_memory; /* room for all panels, filled as matrices are used; NULL: unpacked */
    size_t panel_memory_bytes;
    r2i_tokenizer *tokenizer; /* NULL: the file has none (test models) */
    pthread_mutex_t encoder_lock;
    r2i_encoder *encoder;             /* made at first use, under the lock */
    r2i_token_forest *forest;         /* likewise, for grammars */
    r2i_chat_template *chat_template; /* NULL: none */
    r2i_chat_template_traits template_traits;
    r2i_tool_syntax tool_syntax;
    int32_t think_open, think_close; /* ids of <think> and </think>; -1 without */
    char name[R2I_MODEL_NAME_BYTES], weight_types[R2I_WEIGHT_TYPES_BYTES];
    uint64_t fingerprint;   /* of configuration and weights, to recognise saved sequences */
    atomic_uint n_adapters; /* opened so far: numbers them */
};

/* Row kind of a cache of the kind asked for: the first is what fits the model's arithmetic. */
r2i_row_kind r2i_model_cache_rows(const r2_model *model, r2_cache_rows asked);
/* r2i_linear_context's `packed`: gives the file's pages back.  `user` is the model. */
void r2i_model_on_packed(void *user, const r2i_matrix *m, int32_t first_row, int32_t n_rows);
/* Bytes of panels packed for good so far. */
size_t r2i_model_packed_bytes(r2_model *model);
/* R2_E_UNSUPPORTED: opened for its text only. */
R2_CHECKED r2_status r2i_model_check_computes(const r2_model *model, r2_error *err);
/* R2_E_IO when a mapped file has become shorter: reading what is gone would end the process. */
R2_CHECKED r2_status r2i_model_check_intact(const r2_model *model, r2_error *err);
/* model_files.c: bytes of the files; giving all their pages back; whether the weights are random ones,
 * which r2_model_init says in the file's metadata. */
#define R2I_STATE_KEY "r2lm.state"
#define R2I_STATE_INITIAL "initial"
int64_t r2i_model_file_bytes(const r2_model *model);
void r2i_model_forget_files(const r2_model *model);
bool r2i_model_is_initial(const r2_model *model);
/* A line for the embedding program's log, if it wants one. */
void r2i_model_log(const r2_model *model, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* model_text_open.c: tokenizer and template from the file.  Absent ones stay NULL. */
R2_CHECKED r2_status r2i_model_open_text(r2_model *model, r2_error *err);
void r2i_model_close_text(r2_model *model);
#endif
