/* folder_size.h - how much a folder holds that somebody else writes to, and its end. */
#ifndef R2I_FOLDER_SIZE_H
#define R2I_FOLDER_SIZE_H
#include <stdbool.h>
#include <stdint.h>

/* False: more than max_bytes on the disk, or more than max_files, or nested deeper than anybody needs.
 * Follows no links. */
bool r2i_folder_fits(const char *path, int64_t max_bytes, int64_t max_files);
/* The same of a file system in memory that is the folder's own, made for n_bytes: the kernel watches over
 * the bytes.  True of any other one, which stands there until the own one is mounted. */
bool r2i_file_system_fits(const char *path, int64_t n_bytes, int64_t max_files);
/* Removes the folder and all in it, however deep. */
void r2i_folder_remove(const char *path);
#endif
