/* beneath.h - opens files whose names come from a model's author, inside one folder only.
 *
 * A name is 1..255 bytes of A-Z a-z 0-9 . _ - and neither "." nor "..".  A symbolic link is refused
 * with one exception, which download caches are made of: a link to ../../blobs/NAME (two to four
 * steps up).  It is not followed by the kernel: each step is opened in turn, links refused, so a
 * crafted repository cannot lead to another place. */
#ifndef R2I_BENEATH_H
#define R2I_BENEATH_H
#include <stdbool.h>
#include "files/mapping.h"

bool r2i_beneath_is_name(const char *name, size_t n_bytes);
/* Opens a folder that the user named.  *fd is -1 on failure. */
R2_CHECKED r2_status r2i_beneath_open_folder(int *fd, const char *path, r2_error *err);
/* Maps a regular file in the folder.  R2_E_ARGUMENT: no valid name; R2_E_NOT_FOUND; R2_E_IO;
 * R2_E_FORMAT: a link elsewhere, or no regular file. */
R2_CHECKED r2_status r2i_beneath_map(r2i_mapping *out, int folder_fd, const char *name,
                                     r2_error *err);
#endif
