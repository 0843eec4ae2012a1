/* train.h - from texts to a model: data for training.
 *
 * All functions may be called from any thread. */
#ifndef R2LM_TRAIN_H
#define R2LM_TRAIN_H

#include "r2lm/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- data: texts and chats as checked files of tokens ---- */

/* Called from time to time: bytes read so far, of all where that is known (0: it is not).  Returning
 * false ends the work with R2_E_CANCELED. */
typedef bool (*r2_data_progress)(void *user, int64_t n_done, int64_t n_all);

typedef struct {
    /* Files, folders, or "-" for standard input.  A text file is one document, or several parted by
     * lines that equal `mark`; a line of a .jsonl file is a text ("text") or a chat ("messages", or a
     * question and its answer); a folder is read file by file, binary and hidden ones left out. */
    const char *const *inputs;
    int32_t n_inputs;
    const char *mark; /* NULL: a file is one document */
    /* Files as above, of evaluation sets.  A document that has 13 words in a row in common with one of
     * their items is left out. */
    const char *const *held_out;
    int32_t n_held_out;
    float validation_share; /* of the documents, chosen by their hash: 0 to 0.5 */
    bool keeps_copies;      /* also keep a document that says, for four fifths, what another does */
    bool learns_all;        /* of chats, train on every token, not on the assistant's only */
    bool is_forced;         /* replace what has the name of the output, if it is such a folder */
    const char *licence;    /* of the sources, for the data card; may be NULL */
    r2_data_progress progress; /* may be NULL */
    r2_host host;              /* memory; `user` is given to `progress` too */
} r2_data_options;

typedef struct {
    int64_t n_documents, n_tokens, n_targets; /* targets: tokens that are learnt */
} r2_data_split;

typedef struct {
    r2_data_split train, validation;
    int64_t n_read; /* documents */
    int64_t n_files, n_bytes;
    int64_t n_copies, n_near_copies, n_held_out, n_empty; /* left out */
    int64_t n_passed_over;                                /* files of folders that hold no text */
} r2_data_result;

/* Writes the folder `out`: shards of tokens for training and validation, manifest.json with their
 * checksums and where they come from, and a data card, DATA.md.  It appears whole or not at all.
 * `model` gives tokenizer and chat template (r2_model_options.is_text_only is enough) and must not be
 * used by other threads meanwhile.  R2_E_FORMAT with file and line; R2_E_NOT_FOUND; R2_E_UNSUPPORTED: a
 * chat and no chat template; R2_E_ARGUMENT: `out` exists, nothing to read, or nothing is left;
 * R2_E_CANCELED, R2_E_FULL, R2_E_IO, R2_E_NOMEM. */
R2_API R2_CHECKED r2_status r2_data_prepare(r2_data_result *result, const r2_model *model,
                                            const char *out, const r2_data_options *options,
                                            r2_error *err);

/* Reads a folder of r2_data_prepare and all its shards.  R2_E_CHECKSUM: one has changed;
 * R2_E_MISMATCH: made with another tokenizer than `model`'s (NULL: not compared). */
R2_API R2_CHECKED r2_status r2_data_check(r2_data_result *result, const char *folder,
                                          const r2_model *model, r2_error *err);

#ifdef __cplusplus
}
#endif
#endif
