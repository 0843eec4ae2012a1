/* config_read.h - from the metadata of a GGUF file or a config.json to an r2i_config. */
#ifndef R2I_CONFIG_READ_H
#define R2I_CONFIG_READ_H
#include "files/gguf.h"
#include "files/json_read.h"
#include "model/config.h"

/* Both fill and check the whole configuration (r2i_config_check included).  R2_E_UNSUPPORTED: an
 * architecture or scaling this version does not know, named in the text. */
R2_CHECKED r2_status r2i_config_from_gguf(r2i_config *out, const r2i_gguf *gguf, r2i_arena *arena,
                                          r2_error *err);
/* `label` names the file in messages. */
R2_CHECKED r2_status r2i_config_from_json(r2i_config *out, const json_t *json, const char *label,
                                          r2i_arena *arena, r2_error *err);
/* What GGUF files call models of a family. */
const char *r2i_config_gguf_architecture(r2i_family family);
#endif
