#include "base/types.h"

#include "base/failure.h"

static const r2i_type_info type_table[R2I_TYPE_LIMIT] = {
#define R2I_TYPE_ROW(type, id, text, n, bytes) [type] = { text, n, bytes },
    R2I_TYPE_LIST(R2I_TYPE_ROW)
#undef R2I_TYPE_ROW
};

const r2i_type_info *r2i_type_find(uint64_t id) {
    return id < R2I_TYPE_GGUF_LIMIT && type_table[id].name != NULL ? &type_table[id] : NULL;
}

const r2i_type_info *r2i_type_get(r2i_type type) {
    return &type_table[type];
}

size_t r2i_type_row_bytes(r2i_type type, size_t n_elements) {
    const r2i_type_info *info = &type_table[type];
    R2I_ASSERT(n_elements % (size_t)info->block_elements == 0);
    return n_elements / (size_t)info->block_elements * (size_t)info->block_bytes;
}
