/* atomic_folder.h - a folder of files that appears whole or not at all.
 *
 * Files go to a temporary folder beside the final one; commit renames it.  Whatever fails before
 * removes the temporary folder and leaves what was there before. */
#ifndef R2I_ATOMIC_FOLDER_H
#define R2I_ATOMIC_FOLDER_H
#include <stdbool.h>
#include "base/memory.h"

typedef struct r2i_atomic_folder r2i_atomic_folder;

/* Begins a folder that will be called `path`.  What has that name already: R2_E_ARGUMENT, unless
 * may_replace and it is a folder of plain files that is empty or holds `mark` (so that a slip of the
 * finger deletes nobody's home).  R2_E_NOT_FOUND: no such folder to make it in; R2_E_IO, R2_E_FULL,
 * R2_E_NOMEM. */
R2_CHECKED r2_status r2i_atomic_folder_begin(r2i_atomic_folder **out, const char *path,
                                             bool may_replace, const char *mark, r2i_heap *heap,
                                             r2_error *err);
/* Where to write the files; valid until the folder ends. */
const char *r2i_atomic_folder_path(const r2i_atomic_folder *folder);
/* Ends the folder, in success and in failure. */
R2_CHECKED r2_status r2i_atomic_folder_commit(r2i_atomic_folder *folder, r2_error *err);
/* Removes the temporary folder and its files.  NULL is allowed. */
void r2i_atomic_folder_abandon(r2i_atomic_folder *folder);
#endif
