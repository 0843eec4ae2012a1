/* document_read.h - documents out of files, folders and pipes.
 *
 * A text file is one document, or several parted by lines that equal a mark; a line of a JSONL file is one:
 *     {"text": ...}                                   a text ("content" as well)
 *     {"messages": [{"role", "content"}, ...]}        a chat ("conversations" as well)
 *     {"prompt" | "question" | "instruction" [+ "input"], "completion" | "response" | "answer" | "output"}
 *                                                     a chat of one question
 * A folder is read file by file in the order of names, hidden ones left out; what is no UTF-8 there is
 * passed over, while a file that was named must be. */
#ifndef R2I_DOCUMENT_READ_H
#define R2I_DOCUMENT_READ_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"

typedef struct {
    const char *text; /* terminated; NULL: a chat */
    size_t n_bytes;
    json_t *messages;   /* borrowed until the next one; NULL: a text */
    const char *place;  /* "file" or "file:line", for messages */
    const json_t *line; /* the whole object, borrowed; NULL: a text file */
} r2i_document;

typedef struct {
    int64_t n_bytes, n_files, n_passed_over;
} r2i_document_counts;

typedef struct r2i_document_reader r2i_document_reader;

/* `path`: a file, a folder, or "-" for standard input.  `mark` may be NULL.  R2_E_NOT_FOUND, R2_E_IO,
 * R2_E_NOMEM. */
R2_CHECKED r2_status r2i_document_reader_open(r2i_document_reader **out, const char *path,
                                              const char *mark, r2i_heap *heap, r2_error *err);
/* From now on a question alone is a chat as well, of one message. */
void r2i_document_allow_questions(r2i_document_reader *reader);
/* NULL is allowed. */
void r2i_document_reader_close(r2i_document_reader *reader);
/* The next document; *has is false at the end.  R2_E_FORMAT with file and line, R2_E_LIMIT: a document
 * above 64 MiB, R2_E_IO. */
R2_CHECKED r2_status r2i_document_next(r2i_document_reader *reader, r2i_document *out, bool *has,
                                       r2_error *err);
r2i_document_counts r2i_document_counted(const r2i_document_reader *reader);
/* Bytes of these inputs, for telling how far one is; 0: not all of them are plain files. */
int64_t r2i_documents_bytes(const char *const *inputs, int32_t n_inputs);
#endif
