/* checksums.h - SHA-256 of a model's files, and what others said it should be.
 *
 * Known sums come from, in this order: FILE.sha256 beside it, SHA256SUMS beside it, the name of the
 * blob that a Hugging Face cache links to, and the record of a Hugging Face download
 * (.cache/huggingface/download/FILE.metadata). */
#ifndef R2I_CHECKSUMS_H
#define R2I_CHECKSUMS_H
#include "cli/program.h"

enum { R2I_SHA256_TEXT = 65 };

typedef struct {
    const char *path, *name; /* in the program's arena */
    int64_t n_bytes;
    char found[R2I_SHA256_TEXT];    /* "" until computed */
    char expected[R2I_SHA256_TEXT]; /* "" when nobody said */
    const char *source;             /* who said: "SHA256SUMS", ...; NULL */
    bool has_failed;                /* could not be read */
} r2i_file_sum;

typedef struct {
    r2i_file_sum *files; /* [n_files] */
    size_t n_files;
} r2i_file_sums;

/* False: built without the library that computes them. */
bool r2i_checksums_can(void);
/* Lists the files of a model: those of its folder, or a GGUF file and its other shards; and what is
 * known of them. */
R2_CHECKED r2_status r2i_checksums_list(r2i_file_sums *out, r2i_program *program, const char *path,
                                        r2_error *err);
/* Computes `found` of all, several files at once.  R2_E_CANCELED on a signal; a file that cannot be
 * read is marked. */
R2_CHECKED r2_status r2i_checksums_compute(r2i_file_sums *sums, r2i_program *program,
                                           r2_error *err);
#endif
