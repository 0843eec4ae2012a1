/* folder_config.h - config.json and generation_config.json from a model's configuration. */
#ifndef R2I_FOLDER_CONFIG_H
#define R2I_FOLDER_CONFIG_H
#include "convert/conversion.h"

/* Both trees are the caller's.  R2_E_UNSUPPORTED: rope frequencies that no setting of Hugging Face's
 * gives; R2_E_NOMEM. */
R2_CHECKED r2_status r2i_folder_config_make(json_t **config, json_t **generation,
                                            const r2i_conversion *conversion, r2_error *err);
#endif
