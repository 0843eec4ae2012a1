/* vocabulary.h - a tokenizer from one container to the other.
 *
 *     tokenizer.json, tokenizer_config.json, chat_template.jinja  <->  tokenizer.ggml.*,
 *     tokenizer.chat_template
 *
 * Both sides are read by the tokenizer itself first: what it refuses is refused here. */
#ifndef R2I_VOCABULARY_H
#define R2I_VOCABULARY_H
#include "convert/conversion.h"
#include "files/gguf_write.h"

/* Adds the values.  A folder without tokenizer.json gives a file without a vocabulary. */
R2_CHECKED r2_status r2i_vocabulary_to_gguf(r2i_conversion *conversion, r2i_gguf_writer *writer,
                                            r2_error *err);
/* Writes the files into `folder`.  None when the file has no vocabulary. */
R2_CHECKED r2_status r2i_vocabulary_to_folder(r2i_conversion *conversion, const char *folder,
                                              r2_error *err);
/* folder_from_gguf.c: writes `folder`/`name`.  The tree is taken; NULL counts as out of memory. */
R2_CHECKED r2_status r2i_write_json(r2i_conversion *conversion, const char *folder,
                                    const char *name, json_t *tree, r2_error *err);
R2_CHECKED r2_status r2i_write_text(r2i_conversion *conversion, const char *folder,
                                    const char *name, const char *text, size_t n_bytes,
                                    r2_error *err);
#endif
