/* disk_room.h - is there room for what will be written? */
#ifndef R2I_DISK_ROOM_H
#define R2I_DISK_ROOM_H
#include <stdint.h>

#include "base/failure.h"

/* R2_E_FULL if the disk that `path` would come to has less than n_bytes free: better known before hours
 * of work than after.  R2_OK where that cannot be told. */
R2_CHECKED r2_status r2i_disk_room_check(const char *path, int64_t n_bytes, r2_error *err);
#endif
