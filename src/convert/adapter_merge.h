/* adapter_merge.h - an adapter's matrices, to be added to what a conversion reads:
 *
 *     W' = W + scale * s B A       s: alpha / rank or alpha / sqrt(rank), as the adapter says
 *
 * Only the pairs are in memory, as F32; the matrices stream on as they did. */
#ifndef R2I_ADAPTER_MERGE_H
#define R2I_ADAPTER_MERGE_H
#include "convert/conversion.h"

/* Reads the adapter that the options name and checks it against the tensors of the model: everything
 * in it has a matrix to go to, of its size.  Errors as those of r2_adapter_open. */
R2_CHECKED r2_status r2i_merge_open(r2i_conversion *conversion, const r2i_tensor_list *list,
                                    r2_error *err);
/* What is added to a tensor's stored rows, or NULL. */
const r2i_row_addition *r2i_merge_find(const r2i_conversion *conversion,
                                       const r2i_listed_tensor *tensor);
#endif
