/* nfc_tables.h - ascending ranges of code points that NFC may change, reorder or combine with the
 * character before them.  All others are left alone and begin anew. */
#ifndef R2I_NFC_TABLES_H
#define R2I_NFC_TABLES_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int32_t first, last;
} r2i_nfc_range;
extern const r2i_nfc_range r2i_nfc_ranges[];
extern const size_t r2i_n_nfc_ranges;
#endif
